import { MARK } from './mark.js'

/** Where the hook lies: libvirt 6.5 and later runs every file of the directory, besides the administrator's own `hooks/qemu`. */
export const LIBVIRT_HOOK = '/etc/libvirt/hooks/qemu.d/vmcache'

export interface LibvirtHookOptions {
  /** Path of the supervisor's list of images that may lack writes (image-lock-list.ts). */
  readonly imageLocks: string
  /** Path of the engine's list of suspended VMs (suspended-list.ts). */
  readonly suspended: string
  /** Directories in which libvirt keeps the definitions of storage pools. */
  readonly poolDirectories?: readonly string[]
}

const POOL_DIRECTORIES = ['/etc/libvirt/storage', '/run/libvirt/storage']

/**
 * The text of a libvirt hook that keeps a domain from being started, restored or received where one of its images may lack writes:
 * the stamp beside the image says so, or this host's list does (a device has no stamp beside it); or where the domain is suspended, and would run
 * without its memory. Plain sh and awk, nothing of vmcache: a
 * copy of it guards a host that reaches the storage and has no vmcache. It never calls virsh, which hangs inside a hook, and it
 * fails closed: what it cannot read it takes for an image that lacks writes.
 */
export function libvirtHook({ imageLocks, suspended, poolDirectories = POOL_DIRECTORIES }: LibvirtHookOptions): string {
  // In the script no parameter expansion has braces: a dollar before a brace belongs to this template.
  return String.raw`#!/bin/sh
${MARK}
# Guards disk images that lack writes: a virtual machine that starts on one is destroyed, and so is its image.
# Needs nothing of vmcache: copy it to other hosts that reach the same storage, and make libvirtd read its hooks again
# (systemctl reload libvirtd). Arguments: domain, operation, step; the domain's XML comes on standard input.

case $2/$3 in
  prepare/begin | start/begin | restore/begin | migrate/begin) ;;
  *) exit 0 ;;
esac
export LC_ALL=C

refuse() {
  printf '%s\n' "vmcache: domain $1 must not be started here: $2" | tr -d '\001-\011\013-\037\177' >&2
  exit 1
}

# Storage that hangs must not hang libvirt.
if [ "$VMCACHE_HOOK" != limited ] && command -v timeout >/dev/null 2>&1; then
  VMCACHE_HOOK=limited timeout -s KILL 5 "$0" "$@"
  result=$?
  case $result in
    0 | 1) exit $result ;;
    124 | 137) refuse "$1" 'the storage of its images does not answer' ;;
    *) refuse "$1" "its images cannot be looked at ($result)" ;;
  esac
fi

# What libvirt wants to know of a domain comes once.
xml=$(cat)
uuid=$(printf '%s\n' "$xml" | sed -n 's/^.*<uuid>\([0-9A-Fa-f-]*\)<\/uuid>.*$/\1/p' | head -n 1)

# Prints the path of every file, device and pool volume that a disk of the domain has, one on each line.
program=$(cat <<'AWK'
function decoded(text,   at, code, out) {
  gsub(/&lt;/, "<", text); gsub(/&gt;/, ">", text); gsub(/&apos;/, "'", text); gsub(/&quot;/, "\"", text)
  out = ""
  while (match(text, /&#x?[0-9a-fA-F]+;/)) {
    code = substr(text, RSTART + 2, RLENGTH - 3)
    out = out substr(text, 1, RSTART - 1) sprintf("%c", number(code))
    text = substr(text, RSTART + RLENGTH)
  }
  out = out text
  gsub(/&amp;/, "\\&", out)
  return out
}
function number(digits,   base, value, at) {
  base = 10
  if (substr(digits, 1, 1) == "x") { base = 16; digits = tolower(substr(digits, 2)) }
  value = 0
  for (at = 1; at <= length(digits); at++) value = value * base + index("0123456789abcdef", substr(digits, at, 1)) - 1
  return value
}
# The value of an attribute of a tag, which begins after its "<"; empty where it has none.
function attribute(tag, wanted,   key, quote, end) {
  sub(/^[^ \t\r\n\/>]+/, "", tag)
  while (match(tag, /^[ \t\r\n]*[^ \t\r\n=\/>"']+[ \t\r\n]*=[ \t\r\n]*["']/)) {
    key = substr(tag, 1, RLENGTH)
    quote = substr(key, RLENGTH, 1)
    gsub(/[ \t\r\n="']/, "", key)
    tag = substr(tag, RLENGTH + 1)
    end = index(tag, quote)
    if (end == 0) return ""
    if (key == wanted) return decoded(substr(tag, 1, end - 1))
    tag = substr(tag, end + 1)
  }
  return ""
}
# Where the volumes of a storage pool lie, as libvirt has it on file.
function pool_path(pool,   count, directories, at, file, line, path) {
  if (pool ~ /\//) return ""
  path = ""
  count = split(pools, directories, ":")
  for (at = 1; at <= count && path == ""; at++) {
    file = directories[at] "/" pool ".xml"
    while (path == "" && (getline line < file) > 0) {
      if (match(line, /<path>[^<]*<\/path>/)) path = decoded(substr(line, RSTART + 6, RLENGTH - 13))
    }
    close(file)
  }
  return path
}
function found(path) {
  if (path != "" && path !~ /\n/) print path
}
{ text = text $0 "\n" }
END {
  count = split(text, tags, "<")
  for (at = 2; at <= count; at++) {
    tag = tags[at]
    stop = substr(tag, 1, 3) == "!--" ? "-->" : (substr(tag, 1, 8) == "![CDATA[" ? "]]>" : "")
    if (stop != "") {
      while (at < count && index(tags[at], stop) == 0) at++
    } else if (tag ~ /^disk[ \t\r\n>]/) {
      inside = 1
    } else if (tag ~ /^\/disk[ \t\r\n>]/) {
      inside = 0
    } else if (inside && tag ~ /^source[ \t\r\n]/) {
      found(attribute(tag, "file"))
      found(attribute(tag, "dev"))
      volume = attribute(tag, "volume")
      if (volume != "") {
        path = pool_path(attribute(tag, "pool"))
        if (path != "") found(path "/" volume)
      }
    }
  }
}
AWK
)

# What keeps the image "$path" from being used; nothing where it is complete. $1: its stamp.
stamp_refuses() {
  [ -e "$1" ] || [ -h "$1" ] || return 0
  host= disk= lacks=
  if [ -f "$1" ] && [ ! -h "$1" ]; then
    while read -r key value; do
      case $key in
        host:) host=$value ;;
        disk:) disk=$value ;;
        lacks-writes:) lacks=$value ;;
      esac
    done <"$1"
  fi
  case $lacks in
    no) ;;
    yes) incomplete "host $host" "$disk" ;;
    *) printf '%s\n' "the stamp $1 cannot be understood, so nobody knows whether the image is complete." ;;
  esac
}

incomplete() {
  printf '%s\n' "image $path may lack writes, which the cache of $1 holds for disk $2. On that host" \
    "    vmcache cache detach $2" \
    "completes the image and ends the caching; where no engine can run there:" \
    "    vmcache cache recover --device PATH..." \
    "If that host and its cache are gone for good, this gives up what the image lacks:" \
    "    vmcache lease take '$path' --fenced --discard-dirty"
}

list_refuses() {
  [ -f '${quotedForShell(imageLocks)}' ] || return 0
  tab=$(printf '\t')
  while IFS=$tab read -r disk listed; do
    case $listed in
      /*) [ "$listed" = "$path" ] || [ "$listed" -ef "$path" ] || continue ;;
      *) continue ;;
    esac
    incomplete 'this host' "$disk"
    return 0
  done <'${quotedForShell(imageLocks)}'
}

suspended_refuses() {
  tab=$(printf '\t')
  while IFS=$tab read -r listed name; do
    [ "$listed" = "$uuid" ] || continue
    printf '%s\n' 'it is suspended, and would run without its memory. Let it go on' \
      "    vmcache vm resume '$name'" \
      'or lose its memory, and start it then:' \
      "    vmcache checkpoint delete '$name' --discard-memory"
    return 0
  done <'${quotedForShell(suspended)}'
}

if [ -n "$uuid" ] && [ -f '${quotedForShell(suspended)}' ]; then
  reason=$(suspended_refuses) || refuse "$1" 'the list of suspended domains cannot be read'
  [ -z "$reason" ] || refuse "$1" "$reason"
fi

paths=$(printf '%s\n' "$xml" | awk -v pools='${quotedForShell(poolDirectories.join(':'))}' "$program") || refuse "$1" 'its XML cannot be read'
reasons=$(
  printf '%s\n' "$paths" | while IFS= read -r path; do
    [ -n "$path" ] || continue
    reason=$(stamp_refuses "$path.vmcache")
    # The stamp lies beside the image, not beside a link to it.
    if [ -z "$reason" ] && [ -h "$path" ]; then reason=$(stamp_refuses "$(readlink -f -- "$path").vmcache"); fi
    [ -n "$reason" ] || reason=$(list_refuses)
    [ -z "$reason" ] || printf '%s\n' "$reason"
  done
)
[ -z "$reasons" ] || refuse "$1" "$reasons"
exit 0
`
}

/** A text between single quotes of sh. */
function quotedForShell(text: string): string {
  return text.replaceAll("'", `'\\''`)
}
