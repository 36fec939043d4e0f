/** What the groups of commands are about, for help and manual pages. */
export const TOPICS: Readonly<Record<string, string>> = {
  cache: 'Make caches out of devices, and serve disks through them.',
  checkpoint: 'Show, move and give up what caches and storage have of the memory of suspended VMs.',
  config: 'Show and check the configuration of the engine.',
  device: 'Show the devices of the caches, add, remove and replace them.',
  disk: 'Show and maintain the disks that are served.',
  engine: 'Start, stop and install the engine of this host.',
  event: 'Show what happened, why, and who did it.',
  job: 'Show and cancel long operations.',
  lease: 'Show and take the right to write an origin.',
  policy: 'Set, show and unset how disks are cached, and what is wanted of VMs.',
  stats: 'Show and export what the caches do.',
  vm: 'Define, adopt, start, suspend and stop VMs, and see which of their disks are cached.',
}
