/**
 * `suspending`: the VM is stopped, and goes on if this does not end well; `suspended`: its memory is in the cache, and nowhere else;
 * `resuming`: it is being loaded into a VM that has not begun; `consumed`: that VM may have begun, so it is never loaded again.
 */
export type CheckpointState = 'suspending' | 'suspended' | 'resuming' | 'consumed'
