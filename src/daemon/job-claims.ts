import { isPattern } from '../operations/targets.js'
import type { Targets } from '../protocol/control/documents.js'
import type { Operation, RequestOf } from '../protocol/control/routes.js'

/** A thing that a job works on. Two jobs may share it only where both just lean on it (a disk that is attached to a cache). */
export interface Claim {
  /** `cache fast`, `disk web01/vda`, `device /dev/nvme1n1`. */
  readonly object: string
  readonly isShared: boolean
}

/** The operations that are jobs on objects, and the names that they need to be told. */
export interface ClaimNames {
  /** Names of the disks that targets mean; errors for unknown ones are the operation's business. */
  readonly disksOf: (targets: Targets) => string[]
  /** The same for VMs. */
  readonly vmsOf: (targets: Targets) => string[]
  /** Name of the disk that an attachment without a name gets. */
  readonly diskNameOf: (origin: string) => string
}

const sole = (object: string): Claim => ({ object, isShared: false })
const shared = (object: string): Claim => ({ object, isShared: true })

/** What an operation works on: the first claim names it to people. */
export function claimsOf<O extends Operation>(operation: O, request: RequestOf<O>, names: ClaimNames): Claim[] {
  const claims = CLAIMS[operation]
  return claims === undefined ? [] : claims(request, names)
}

/** What the host says all of its disks and VMs may inherit. */
const HOST = 'policy of this host'

const disks = (request: RequestOf<'disk.invalidate'>, names: ClaimNames): Claim[] =>
  names.disksOf(request).map((name) => sole(`disk ${name}`))

const vms = (request: Targets, names: ClaimNames): Claim[] => names.vmsOf(request).map((name) => sole(`vm ${name}`))

const isFilter = ({ all, names }: Targets): boolean => all || names.some(isPattern)

const CLAIMS: { [O in Operation]?: (request: RequestOf<O>, names: ClaimNames) => Claim[] } = {
  'cache.create': ({ name, devices }) => [sole(`cache ${name}`), ...devices.map(({ path }) => sole(`device ${path}`))],
  'cache.delete': ({ name }) => [sole(`cache ${name}`)],
  'cache.import': ({ devices }) => [...devices.map((path) => sole(`device ${path}`)), shared(HOST)],
  // Beside attachments, but not beside another one.
  'cache.scrub': ({ name }) => [shared(`cache ${name}`), sole(`scrub of cache ${name}`)],
  'device.add': ({ cache, device }) => [sole(`cache ${cache}`), sole(`device ${device.path}`)],
  'device.remove': ({ cache }) => [sole(`cache ${cache}`)],
  'device.replace': ({ cache, by }) => [sole(`cache ${cache}`), sole(`device ${by.path}`)],
  'cache.attach': ({ name, cache, origin }, { diskNameOf }) => [
    sole(`disk ${name ?? diskNameOf(origin)}`),
    shared(`cache ${cache}`),
    shared(HOST),
  ],
  'cache.detach': disks,
  'disk.flush': disks,
  'disk.invalidate': disks,
  'cache.set': ({ name }) => [sole(`cache ${name}`)],
  'host.set': () => [sole(HOST)],
  'disk.set': ({ name }) => [sole(`disk ${name}`)],
  'disk.resolve': ({ name }) => [sole(`disk ${name}`)],
  'lease.take': ({ origin }) => [sole(`origin ${origin}`)],
  'vm.define': ({ name }) => [sole(`vm ${name}`)],
  'vm.delete': vms,
  'vm.adopt': ({ domains }) => domains.map((name) => sole(`vm ${name}`)),
  'vm.release': vms,
  'vm.set': ({ name }) => [sole(`vm ${name}`)],
  'vm.start': vms,
  'vm.stop': vms,
  // A filter leaves out what others work on, and may wait for long: it is in nobody's way.
  'vm.suspend': (request, names) => (isFilter(request) ? [shared('queue of suspends')] : vms(request, names)),
  'vm.resume': (request, names) => (isFilter(request) ? [shared('queue of resumes')] : vms(request, names)),
  'checkpoint.move': ({ names }) => names.map((name) => sole(`checkpoint ${name}`)),
  'checkpoint.delete': ({ names }) => names.map((name) => sole(`checkpoint ${name}`)),
  'vm.attach': ({ vm, cache }) => [sole(`vm ${vm}`), shared(`cache ${cache}`), shared(HOST)],
  'engine.stop': () => [sole('engine process')],
  'engine.restart': () => [sole('engine process')],
}

/** The object that both want and cannot share, or null. */
export function conflictOf(some: readonly Claim[], others: readonly Claim[]): string | null {
  const conflict = some.find(({ object, isShared }) =>
    others.some((other) => other.object === object && !(isShared && other.isShared)),
  )
  return conflict?.object ?? null
}

/** The objects of a job in one line: `disk a, disk b and 3 more`. The first claim says of which kind they are. */
export function objectText(claims: readonly Claim[]): string {
  const kind = claims[0]?.object.split(' ')[0]
  const objects = claims.map(({ object }) => object).filter((object) => object.startsWith(`${kind} `))
  if (objects.length <= 3) return objects.join(', ')
  return `${objects.slice(0, 2).join(', ')} and ${objects.length - 2} more`
}
