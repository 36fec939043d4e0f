import * as z from 'zod'
import { VmcacheError } from '../../base/errors.js'
import { MODES } from '../../model/mode.js'
import { DISK_SETTING_KEYS, LEVELS, VM_SETTING_KEYS, type SettingKey } from '../../model/policy.js'
import { ACCELERATORS, IMAGE_FORMATS } from '../../model/vm.js'
import { CHECKPOINT_DESTINATIONS } from '../../model/checkpoint.js'
import { RAPID_SUSPEND } from '../../model/vm-policy.js'
import { DESTAGE_BARRIERS, DESTAGE_ORDERS, DISK_PARTS } from '../../model/write-back.js'
import { methodOf, type Operation, type RequestOf } from './routes.js'

/**
 * What a request may look like: types, bounds and defaults. What a name, a size or a path means is checked by the operation,
 * which can say more about it. Unknown keys are refused, so that a misspelt option is never silently ignored.
 */
const text = z
  .string()
  .max(4096)
  .refine((value) => !value.includes('\0'), { error: 'contains a zero byte' })
const name = text.min(1)
const bytes = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const flag = z.boolean().default(false)
const texts = z.array(name).max(10_000)
const shares = z.number().int().min(1).max(1_000_000)

const writeBack = {
  order: z.enum(DESTAGE_ORDERS),
  barrier: z.enum(DESTAGE_BARRIERS),
  dirtyLowBytes: bytes.nullable(),
  dirtyHighBytes: bytes.nullable(),
  dirtyAgeSeconds: z.number().int().min(0),
}

const diskSettings = {
  replacement: name.optional(),
  minBytes: bytes.optional(),
  maxBytes: bytes.nullable().optional(),
  shares: shares.optional(),
  writeBack: z.strictObject(writeBack).partial().optional(),
}

const attachment = {
  cache: name,
  mode: z.enum(MODES).optional(),
  ...diskSettings,
  exclusive: flag,
  dryRun: flag,
}

const device = z.strictObject({ path: name, sizeBytes: bytes.nullable().default(null) })
const targets = { names: texts.default([]), all: flag, exclude: texts.default([]) }
const schedule = name.max(200).nullable().optional()
const unset = <Key extends SettingKey>(keys: readonly Key[]) => z.array(z.enum(keys)).max(100).optional()
const diskSet = { mode: name.optional(), ...diskSettings, unset: unset(DISK_SETTING_KEYS) }
const vmSet = {
  ...diskSet,
  rapidSuspend: z.enum(RAPID_SUSPEND).optional(),
  idleTimeoutSeconds: z.number().int().min(1).nullable().optional(),
  suspendAt: schedule,
  resumeAt: schedule,
  storageAfterSeconds: z.number().int().min(1).nullable().optional(),
  timeZone: name.max(100).nullable().optional(),
  unset: unset([...DISK_SETTING_KEYS, ...VM_SETTING_KEYS]),
}
const pace = {
  perHour: z.number().int().min(1).max(1_000_000).nullable().default(null),
  atOnce: z.number().int().min(1).max(1000).nullable().default(null),
}
const nothing = z.strictObject({})
const named = z.strictObject({ name })

/** A hold makes a disk as slow as its origin: nobody means longer. */
const LONGEST_HOLD_SECONDS = 7 * 86_400

/** Waiting is bounded; whoever wants to wait longer asks again. */
const waitMilliseconds = (initial: number) =>
  z
    .string()
    .regex(/^[0-9]{1,5}$/, { error: 'expected milliseconds, at most 60000' })
    .transform(Number)
    .pipe(z.number().max(60_000))
    .default(initial)

const schemas: { readonly [O in Operation]: z.ZodType<RequestOf<O>> } = {
  'status.show': nothing,
  'engine.status': nothing,
  'doctor.run': nothing,
  'cache.list': nothing,
  'cache.show': named,
  'disk.list': nothing,
  'disk.show': named,
  'device.list': nothing,
  'vm.list': nothing,
  'vm.show': named,
  'checkpoint.list': nothing,
  'checkpoint.show': named,
  'stats.show': z.strictObject({
    names: texts.default([]),
    window: z.enum(['5m', '1h', '24h', 'all']).default('5m'),
  }),
  'job.list': nothing,
  'job.show': z.strictObject({ id: name, waitMilliseconds: waitMilliseconds(0) }),
  'event.list': z.strictObject({
    sinceAt: z.iso.datetime().nullable().default(null),
    vm: name.nullable().default(null),
    disk: name.nullable().default(null),
  }),
  'policy.list': nothing,
  'policy.show': z.strictObject({ level: z.enum(LEVELS), name }),
  'lease.list': nothing,
  'lease.show': z.strictObject({ origin: name }),
  'config.show': nothing,

  'cache.create': z.strictObject({
    name,
    devices: z.array(device).min(1).max(256),
    blockSizeBytes: bytes,
    chunkSizeBytes: bytes,
    force: flag,
    dryRun: flag,
  }),
  'cache.delete': z.strictObject({ name, discardDirty: flag, dryRun: flag }),
  'cache.import': z.strictObject({ devices: texts.min(1), missing: flag, dryRun: flag }),
  'cache.scrub': z.strictObject({ name, bytesPerSecond: bytes.min(1).nullable().default(null), dryRun: flag }),
  'device.add': z.strictObject({ cache: name, device, force: flag, dryRun: flag }),
  'device.remove': z.strictObject({ cache: name, device: name, dryRun: flag }),
  'device.replace': z.strictObject({ cache: name, device: name, by: device, force: flag, dryRun: flag }),
  'cache.attach': z.strictObject({
    origin: name,
    name: name.nullable().default(null),
    readOnly: flag,
    ...attachment,
  }),
  'cache.detach': z.strictObject({ ...targets, discardDirty: flag, force: flag, dryRun: flag }),
  'disk.flush': z.strictObject({
    ...targets,
    holdSeconds: z.number().int().min(0).max(LONGEST_HOLD_SECONDS).optional(),
    dryRun: flag,
  }),
  'disk.invalidate': z.strictObject({ ...targets, dryRun: flag }),
  'disk.set': z.strictObject({ name, ...diskSet, dryRun: flag }),
  'cache.set': z.strictObject({ name, ...diskSet, dryRun: flag }),
  'host.set': z.strictObject({ name, ...vmSet, dryRun: flag }),
  'disk.resolve': z.strictObject({ name, keep: z.enum(DISK_PARTS), discardDirty: flag, dryRun: flag }),
  'lease.take': z.strictObject({ origin: name, fenced: flag, discardDirty: flag, dryRun: flag }),
  'vm.define': z.strictObject({
    name,
    memoryBytes: bytes,
    cpus: z.number().int().min(1).max(4096),
    accelerator: z.enum(ACCELERATORS),
    disks: z.array(z.strictObject({ path: name, format: z.enum(IMAGE_FORMATS).default('raw') })).max(256),
    kernel: name.nullable().default(null),
    initrd: name.nullable().default(null),
    append: text.nullable().default(null),
    qemuArguments: z.array(text).max(1000).default([]),
    dryRun: flag,
  }),
  'vm.delete': z.strictObject({ ...targets, dryRun: flag }),
  'vm.adopt': z.strictObject({ domains: texts.min(1), connect: name.nullable().default(null), dryRun: flag }),
  'vm.release': z.strictObject({ ...targets, dryRun: flag }),
  'vm.start': z.strictObject({ ...targets, bestEffort: flag, dryRun: flag }),
  'vm.stop': z.strictObject({ ...targets, force: flag, dryRun: flag }),
  'vm.suspend': z.strictObject({
    ...targets,
    idleSeconds: z.number().int().min(0).nullable().default(null),
    to: z.enum(CHECKPOINT_DESTINATIONS).optional(),
    ...pace,
    dryRun: flag,
  }),
  'vm.set': z.strictObject({ name, ...vmSet, dryRun: flag }),
  'vm.resume': z.strictObject({ ...targets, ...pace, dryRun: flag }),
  'checkpoint.move': z.strictObject({ ...targets, to: z.enum(CHECKPOINT_DESTINATIONS), dryRun: flag }),
  'checkpoint.delete': z.strictObject({ ...targets, discardMemory: flag, dryRun: flag }),
  'vm.attach': z.strictObject({ vm: name, targets: texts.default([]), ...attachment }),
  'job.cancel': z.strictObject({ id: name }),
  'engine.stop': z.strictObject({ detach: flag, force: flag }),
  'engine.restart': nothing,
}

/** How long a POST waits for its job: a query parameter beside the body. */
const postQuery = z.strictObject({ waitMilliseconds: waitMilliseconds(1000) })

/** Keys of GET requests that may be repeated; every other one is a single value. */
const LISTS: ReadonlySet<string> = new Set(['names'])

export function isOperation(text: string): text is Operation {
  return Object.hasOwn(schemas, text)
}

/** The request in a query string. BAD_REQUEST names the key that is wrong. */
export function parseQuery<O extends Operation>(operation: O, query: URLSearchParams): RequestOf<O> {
  return parse(schemas[operation], operation, queryDocument(operation, query)) as RequestOf<O>
}

/** The request in the body and the query string of a POST. BAD_REQUEST names the field that is wrong. */
export function parsePost<O extends Operation>(
  operation: O,
  body: string,
  query: URLSearchParams,
): { request: RequestOf<O>; waitMilliseconds: number } {
  const { waitMilliseconds } = parse(postQuery, operation, queryDocument(operation, query))
  let document: unknown
  try {
    document = body === '' ? {} : JSON.parse(body)
  } catch {
    throw new VmcacheError('BAD_REQUEST', `${operation}: the body is not JSON`)
  }
  return { request: parse(schemas[operation], operation, document) as RequestOf<O>, waitMilliseconds }
}

function queryDocument(operation: Operation, query: URLSearchParams): Record<string, unknown> {
  const entries = [...new Set(query.keys())].map((key): [string, unknown] => {
    const values = query.getAll(key)
    if (LISTS.has(key) && methodOf(operation) === 'GET') return [key, values]
    if (values.length > 1) throw new VmcacheError('BAD_REQUEST', `${operation}: ${shown(key)} is given more than once`)
    return [key, values[0]]
  })
  return Object.fromEntries(entries)
}

function parse<Value>(schema: z.ZodType<Value>, operation: string, document: unknown): Value {
  const result = schema.safeParse(document)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  const field = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('')
  const where = field === '' ? operation : `${operation}: ${shown(field.replace(/^\./, ''))}`
  const problem = plain(issue.message)
    .replace(/^Invalid input: /, '')
    .replace('received undefined', 'nothing was given')
  throw new VmcacheError('BAD_REQUEST', `${where}: ${problem.length > 300 ? `${problem.slice(0, 300)}...` : problem}`, {
    details: { operation, field: field.replace(/^\./, '') },
  })
}

/** One line without control characters. */
function plain(text: string): string {
  return text.replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, ' ')
}

/** What a stranger wrote, safe for a line of a terminal or a log. */
function shown(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 80)}...` : text
  return JSON.stringify(short)
}
