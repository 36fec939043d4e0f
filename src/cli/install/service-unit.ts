export const UNIT_NAME = 'vmcache.service'
export const UNIT_FILE = `/etc/systemd/system/${UNIT_NAME}`
