import type { CheckpointDestination } from '../../model/checkpoint.js'
import type { DiskSettings, Level, SettingKey } from '../../model/policy.js'
import type { DiskPart } from '../../model/write-back.js'
import type * as documents from './documents.js'

/**
 * The route table: operation -> method, request and response. The path of `cache.create` is `/v1/cache/create`. A GET
 * carries its request as a query string (arrays repeat the key); a POST as a JSON body.
 *
 * Every POST is recorded as a job, answered with {@link PostResponse} at once when the job has ended within
 * `waitMilliseconds` (a query parameter, default 1000), else with the running job; `job.show` with `waitMilliseconds` goes on waiting. A failed
 * request is `{"error": ErrorDocument}` with a 4xx or 5xx status.
 */
export interface Routes {
  'status.show': Get<object, documents.StatusDocument>
  'engine.status': Get<object, documents.EngineDocument>
  'doctor.run': Get<object, { checks: documents.DoctorCheck[] }>
  'cache.list': Get<object, { caches: documents.CacheDocument[] }>
  'cache.show': Get<{ name: string }, documents.CacheDocument>
  'disk.list': Get<object, { disks: documents.DiskDocument[] }>
  'disk.show': Get<{ name: string }, documents.DiskDocument>
  'device.list': Get<object, { devices: (documents.DeviceDocument & { cache: string })[] }>
  'vm.list': Get<object, { vms: documents.VmDocument[] }>
  'vm.show': Get<{ name: string }, documents.VmDocument>
  'checkpoint.list': Get<object, { checkpoints: documents.CheckpointDocument[] }>
  /** `name`: of the VM, or the id. */
  'checkpoint.show': Get<{ name: string }, documents.CheckpointDocument>
  'stats.show': Get<{ names: string[]; window: documents.StatsWindow }, documents.StatsDocument>
  'job.list': Get<object, { jobs: documents.JobDocument[] }>
  'job.show': Get<{ id: string; waitMilliseconds: number }, documents.JobDocument>
  'event.list': Get<
    { sinceAt: string | null; vm: string | null; disk: string | null },
    { events: documents.EventDocument[] }
  >
  /** What is set anywhere on this host. */
  'policy.list': Get<object, { policies: documents.SetPolicyDocument[] }>
  'policy.show': Get<{ level: Level; name: string }, documents.PolicyDocument>
  'lease.list': Get<object, { leases: documents.LeaseDocument[] }>
  'lease.show': Get<{ origin: string }, documents.LeaseDocument>
  'config.show': Get<object, { values: { key: string; value: unknown; source: string }[] }>

  'cache.create': Post<documents.CreateCacheRequest, documents.ChangeResult & { cache: documents.CacheDocument | null }>
  'cache.delete': Post<Changing<{ name: string; discardDirty: boolean }>, documents.ChangeResult & { name: string }>
  /** `coldDisks`: what was cached of them was dropped, because a device of the cache is missing. */
  'cache.import': Post<
    Changing<{ devices: string[]; missing: boolean }>,
    documents.ChangeResult & { cache: documents.CacheDocument | null; coldDisks: string[] }
  >
  /** `bytesPerSecond`: reads no faster; null for as fast as is polite. */
  'cache.scrub': Post<
    Changing<{ name: string; bytesPerSecond: number | null }>,
    documents.ChangeResult & documents.ScrubbedCache
  >
  'device.add': Post<
    Changing<{ cache: string; device: documents.DeviceSpecification; force: boolean }>,
    documents.ChangeResult & { cache: documents.CacheDocument }
  >
  /** `device`: its path, or its id. */
  'device.remove': Post<
    Changing<{ cache: string; device: string }>,
    documents.ChangeResult & { cache: documents.CacheDocument }
  >
  'device.replace': Post<
    Changing<{ cache: string; device: string; by: documents.DeviceSpecification; force: boolean }>,
    documents.ChangeResult & { cache: documents.CacheDocument }
  >
  'cache.attach': Post<documents.AttachRequest, documents.ChangeResult & { disk: documents.DiskDocument | null }>
  'cache.detach': Post<Changing<documents.Targets & { discardDirty: boolean; force: boolean }>, Results>
  /** `holdSeconds`: so long a write is answered when the origin has it, so that the origin stays current. */
  'disk.flush': Post<Changing<documents.Targets & { holdSeconds?: number }>, Results>
  'disk.invalidate': Post<Changing<documents.Targets>, Results>
  /** Live change of what is set of a disk itself; a key that is absent stays, one in `unset` is inherited again. */
  'disk.set': Post<
    Changing<{ name: string; unset?: (keyof DiskSettings)[] } & documents.GivenDiskSettings>,
    documents.ChangeResult & { disk: documents.DiskDocument }
  >
  /** The same for all disks of a cache that inherit from it. */
  'cache.set': Post<
    Changing<{ name: string; unset?: (keyof DiskSettings)[] } & documents.GivenDiskSettings>,
    documents.ChangeResult & { cache: documents.CacheDocument }
  >
  /** The same for all disks and VMs of this host, which `name` must be: its name, or its id. */
  'host.set': Post<
    Changing<{ name: string; unset?: SettingKey[] } & documents.GivenSettings>,
    documents.ChangeResult & { host: string }
  >
  /** Without `discardDirty` `origin` is kept only where nothing is lost. */
  'disk.resolve': Post<
    Changing<{ name: string; keep: DiskPart; discardDirty: boolean }>,
    documents.ChangeResult & documents.ResolvedDisk
  >
  /** `fenced`: the holder is off and stays off; `discardDirty` gives up what only its cache has. */
  'lease.take': Post<
    Changing<{ origin: string; fenced: boolean; discardDirty: boolean }>,
    documents.ChangeResult & { lease: documents.LeaseDocument | null }
  >
  'vm.define': Post<documents.DefineVmRequest, documents.ChangeResult & { vm: documents.VmDocument | null }>
  'vm.delete': Post<Changing<documents.Targets>, Results>
  /** `connect`: URI of the connection of libvirt; null for that of the system. */
  'vm.adopt': Post<Changing<{ domains: string[]; connect: string | null }>, Results>
  /** Detaches its disks first. */
  'vm.release': Post<Changing<documents.Targets>, Results>
  /** `bestEffort`: also where their disks cannot have what they are promised of their caches. */
  'vm.start': Post<Changing<documents.Targets & { bestEffort?: boolean }>, Results>
  /** `force`: at once, as a power cut; else the guest is asked to shut down, and waited for. */
  'vm.stop': Post<Changing<documents.Targets & { force: boolean }>, Results>
  /**
   * `idleSeconds`: only those that have been idle for so long; null for all. `perHour`: so many begin in an hour; `atOnce`: so many at a
   * time; null for what is usual.
   */
  /** `to`: where their memory goes, `local` where it is left out. */
  'vm.suspend': Post<
    Changing<documents.Targets & { idleSeconds: number | null; to?: CheckpointDestination } & Pace>,
    Results
  >
  /** What is wanted of a VM, and of its disks; as `disk.set`. */
  'vm.set': Post<
    Changing<{ name: string; unset?: SettingKey[] } & documents.GivenSettings>,
    documents.ChangeResult & { vm: documents.VmDocument }
  >
  'vm.resume': Post<Changing<documents.Targets & Pace>, Results>
  /** Of VMs, by name, or by id. Without `discardMemory` it is refused. */
  'checkpoint.move': Post<Changing<documents.Targets & { to: CheckpointDestination }>, Results>
  'checkpoint.delete': Post<Changing<documents.Targets & { discardMemory: boolean }>, Results>
  /** Attaches disks of a VM, live where it runs; `results` are disks. */
  'vm.attach': Post<documents.AttachVmRequest, Results & { disks: documents.DiskDocument[] }>
  'job.cancel': Post<{ id: string }, documents.ChangeResult & { job: documents.JobDocument }>
  /** Ends engine and supervisor. `detach` first detaches every disk; without it REFUSED while a client is connected, unless `force`. */
  'engine.stop': Post<{ detach: boolean; force: boolean }, documents.ChangeResult>
  /** Replaces the engine process behind its sockets; answered before the old one ends. */
  'engine.restart': Post<object, documents.ChangeResult>
}

interface Get<Request, Response> {
  method: 'GET'
  request: Request
  response: Response
}
interface Post<Request, Response> {
  method: 'POST'
  request: Request
  response: Response
}
type Changing<Request> = Request & { dryRun: boolean }
type Pace = { perHour: number | null; atOnce: number | null }
type Results = documents.ChangeResult & { results: documents.TargetResult[] }

export type Operation = keyof Routes
export type RequestOf<O extends Operation> = Routes[O]['request']
export type ResponseOf<O extends Operation> = Routes[O]['response']

export interface PostResponse<Result> {
  job: documents.JobDocument
  /** Null while the job runs. */
  result: Result | null
}

/** Operations that are answered from memory and change nothing. */
export const READS: readonly Operation[] = [
  'status.show',
  'engine.status',
  'doctor.run',
  'cache.list',
  'cache.show',
  'disk.list',
  'disk.show',
  'device.list',
  'vm.list',
  'vm.show',
  'checkpoint.list',
  'checkpoint.show',
  'stats.show',
  'job.list',
  'job.show',
  'event.list',
  'policy.list',
  'policy.show',
  'lease.list',
  'lease.show',
  'config.show',
]

export function methodOf(operation: Operation): 'GET' | 'POST' {
  return READS.includes(operation) ? 'GET' : 'POST'
}

export function pathOf(operation: Operation): string {
  return `/v1/${operation.replace('.', '/')}`
}
