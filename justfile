# The front door. Everything runs from a fresh clone: python3 -m venv .venv && .venv/bin/pip install -q rust-just

set positional-arguments := true

bin := quote(justfile_directory() / ".venv/bin")
simulated := '.*simulated.*'
# What a recipe runs in the foreground is just's own child, and the kernel ends it when just is gone, however that ended.
run := "exec setpriv --pdeathsig TERM --"

# List the recipes.
[private]
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Install what is missing for everything below: Python packages by hash, and as root libvirt with QEMU.
install *packages="libvirt":
    @{{ run }} control/site/scripts/install "$@"

# Start a site on this machine and leave it running: --driver simulated --hosts 50, --api-port N, --dir DIR.
up *options: (install if options =~ simulated { "" } else { "libvirt" })
    @{{ run }} {{ bin }}/kilonova site up "$@"

# Stop exactly what `up` started; data and guests stay.
down *options:
    @{{ run }} {{ bin }}/kilonova site down "$@"

# Show the site's processes.
status *options:
    @{{ run }} {{ bin }}/kilonova site status "$@"

# Print the end of one process's log, such as `just logs api`; -f follows it.
logs role *options:
    @{{ run }} {{ bin }}/kilonova site logs "$@"

# Boot, stop, start, reboot and delete a real server with the standard client; starts the site if none runs.
demo *options: (install "libvirt")
    @{{ run }} {{ bin }}/kilonova site demo "$@"

# Run placement alone in the foreground, believing headers: --profile default|secure|open|cors, --port N, --etcd HOST:PORT.
placement *options: (install "")
    @{{ run }} {{ bin }}/kilonova site placement "$@"

# Run all tests, the real guest included, some files at once; named ones one after another. Arguments go to pytest.
test *arguments: (install "libvirt")
    {{ run }} {{ bin }}/python -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"

# Type the rest of what `openstack` can against a live simulated site; arguments go to pytest.
e2e *arguments: (install "")
    {{ run }} {{ bin }}/python -m pytest tests/e2e -m "e2e or not e2e" "$@"

# Kill and pause every process, etcd and nats-server too, in the middle of boots and deletes; arguments go to pytest.
chaos *arguments: (install "")
    {{ run }} {{ bin }}/python -m pytest -m storm "$@"

# Fuzz the live API by its OpenAPI documents as admin, member and reader: --examples 200, --role reader, --only servers.
fuzz *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.fuzz "$@"

# Simulate a whole site under faults on virtual time: `--seed 7` replays one with its log, `--seeds 200` runs many.
sim *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.sim "$@"

# Plant faults, each compare of each transaction removed among them, and print what catches each: --only claim, --seeds 500.
mutate *options: (install "")
    @{{ bin }}/python -m tests.mutate "$@"

# Check format, lint, types and the arrows between the rooms.
check: (install "")
    {{ bin }}/ruff format --check .
    {{ bin }}/ruff check .
    {{ bin }}/mypy
    {{ bin }}/lint-imports

# Format the code and sort its imports.
fmt: (install "")
    {{ bin }}/ruff check --fix .
    {{ bin }}/ruff format .

# Measure boots through the API: rate, latency, CPU, transactions and memory on a site of 100 simulated hosts.
bench-boot *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.bench.boot "$@"

# Measure lists, upkeep and rescans over 1,000,000 servers' records in memory, or --etcd with 200,000: --servers N.
bench-scale *options: (install "")
    @{{ bin }}/python -m tests.bench.scale "$@"

# Boot and delete 100,000 servers and show the memory of every process over that time: --servers N, --in-flight N.
bench-soak *options: (install "")
    @{{ bin }}/python -m tests.bench.soak "$@"

# Measure shows and lists through the API with 50,000 servers stored: rate and latency.
bench-list *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.bench.lists "$@"

# Measure a scheduler's decision in one process: CPU by kind of request for 100 to 50,000 hosts, also as a plot.
bench-scheduler *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.bench.scheduler "$@"

# Measure Placement's API: candidates, look-ups, creations and claims; --providers 10000, --seconds 4, --only candidates.
bench-placement *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.bench.placement "$@"

# Measure identity and images on one API process: logins, validations and cheap calls a second; --seconds 3.
bench-tokens *options: (install "")
    @{{ run }} {{ bin }}/python -m tests.bench.tokens "$@"

# Pin the newest versions that pyproject.toml allows, with hashes, into requirements/.
lock: (install "")
    @{{ run }} control/site/scripts/lock
