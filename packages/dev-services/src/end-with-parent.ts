/**
 * Ends a child when this process is gone, also after `kill -9`, which no handler in this process can see.
 *
 * A small shell process watches both. A process id can be given to another process later, so the watcher remembers
 * when each of the two started and only ever signals the child it was given; a zombie counts as gone.
 */
import { spawn } from 'node:child_process';
import { assert } from './errors.ts';

const POLL_SECONDS = 1;
/** How long the child may take after SIGTERM before it gets SIGKILL. */
const GRACE_SECONDS = 10;

/** Prints when a process started, nothing when it is gone. Linux has /proc; ps serves everywhere else. */
const STARTED_AT = `
started_at() {
  if [ -d /proc/self ]; then
    { read -r line < "/proc/$1/stat"; } 2>/dev/null || return 0
    set -- \${line##*) }
    case "$1" in Z | X) return 0 ;; esac
    echo "\${20}"
  else
    case "$(ps -o state= -p "$1")" in Z*) return 0 ;; esac
    ps -o lstart= -p "$1"
  fi
}`;

const WATCH = `${STARTED_AT}
parent=$1 child=$2 poll=$3 grace=$4
parent_start=$(started_at "$parent")
child_start=$(started_at "$child")
[ -n "$child_start" ] || exit 0
while [ -n "$parent_start" ] && [ "$(started_at "$parent")" = "$parent_start" ]; do
  sleep "$poll"
  [ "$(started_at "$child")" = "$child_start" ] || exit 0
done
signal=TERM
while [ "$(started_at "$child")" = "$child_start" ]; do
  [ "$grace" -gt 0 ] || signal=KILL
  kill -s "$signal" "$child" 2>/dev/null
  grace=$((grace - 1))
  sleep 1
done`;

/** Starts the watcher for `childPid`. It ends by itself once the child is gone. */
export function endWithParent(childPid: number): void {
  assert(Number.isSafeInteger(childPid) && childPid > 1, 'a child process to watch has a process id');
  const args = [process.pid, childPid, POLL_SECONDS, GRACE_SECONDS].map(String);
  const watcher = spawn('/bin/sh', ['-c', WATCH, 'tallystick-watcher', ...args], { detached: true, stdio: 'ignore' });
  watcher.unref();
}
