import type { DefinedDisk, VmDefinition } from '../../model/vm.js'
import type { VmPaths } from './vm-paths.js'

export interface QemuArguments {
  readonly uuid: string
  readonly name: string
  readonly definition: VmDefinition
  readonly paths: VmPaths
  /** Paths of the disks that are block devices. */
  readonly blockDevices: ReadonlySet<string>
  /** It is given its memory before it goes on. */
  readonly awaitsMemory: boolean
}

/**
 * The arguments of a QEMU that starts in the background, stopped, with two monitors: one for commands and events, one for whoever must reach
 * it when the first one waits. A disk has a raw layer of its own above its storage, so that the storage can be exchanged.
 */
export function qemuArguments({ uuid, name, definition, paths, blockDevices, awaitsMemory }: QemuArguments): string[] {
  const { memoryBytes, cpus, accelerator, kernel, initrd, append } = definition
  const given = (flag: string, value: string | null): string[] => (value === null ? [] : [flag, value])
  return [
    ...['-name', name, '-uuid', uuid, '-S', '-daemonize', '-pidfile', paths.pid],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', `q35,accel=${accelerator}`],
    ...(accelerator === 'kvm' ? ['-cpu', 'host'] : []),
    ...['-m', `size=${memoryBytes / 2 ** 20}M`, '-smp', String(cpus)],
    ...monitor('monitor', paths.monitor),
    ...monitor('rescue', paths.rescue),
    ...definition.disks.flatMap((disk) => diskArguments(disk, blockDevices.has(disk.path))),
    ...given('-kernel', kernel),
    ...given('-initrd', initrd),
    ...given('-append', append),
    ...definition.qemuArguments,
    ...(awaitsMemory ? ['-incoming', 'defer'] : []),
  ]
}

function monitor(name: string, path: string): string[] {
  const id = `vmcache-${name}`
  return ['-chardev', `socket,id=${id},path=${doubled(path)},server=on,wait=off`, '-mon', `chardev=${id},mode=control`]
}

function diskArguments({ target, path, format }: DefinedDisk, isBlockDevice: boolean): string[] {
  const storage = {
    driver: isBlockDevice ? 'host_device' : 'file',
    'node-name': `${target}-storage`,
    filename: path,
    cache: { direct: true },
    discard: 'unmap',
  }
  const layer = {
    driver: format,
    'node-name': `${target}-format`,
    file: storage['node-name'],
    cache: { direct: true },
    discard: 'unmap',
  }
  return [
    ...['-blockdev', JSON.stringify(storage), '-blockdev', JSON.stringify(layer)],
    // Stopped rather than told of an error, the guest outlives an engine that is away for long.
    ...['-device', `virtio-blk-pci,drive=${layer['node-name']},id=${target},werror=stop,rerror=stop`],
  ]
}

/** QEMU takes a comma in a value for the end of it, unless there are two. */
function doubled(value: string): string {
  return value.replaceAll(',', ',,')
}
