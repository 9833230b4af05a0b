# shellcheck shell=bash disable=SC2034 # other parts use what is set here
# What all sections share: programs, a folder, processes that end with the script, runs that are timed.

bin=${BENCH_SWARM_BIN:-$PWD/target/release}
examples=${BENCH_SWARM_BIN:-$PWD/target/release/examples}
cairn=$bin/cairn copy=$examples/copy crowd=$examples/crowd liar=$examples/liar keccak=$examples/keccak paths=$examples/paths
dir=$(mktemp -d "${TMPDIR:-/tmp}/bench-swarm.XXXXXX")
pids=()

# The network namespaces of the peers, the fetcher's first; empty while all of them are on loopback.
hosts=()

# Chooses a host, 0 for the fetcher's: at HOST. Sets `on`, which goes before a command that runs there, and `ip`, its address.
at() {
    if [ ${#hosts[@]} = 0 ]; then
        on=() ip=127.0.0.1
    else
        on=(ip netns exec "${hosts[$1]}") ip=10.77.0.$(($1 + 1))
    fi
}
at 0

# Ends what runs in the background.
stop() {
    local pid
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2> "$dir/kill.log" || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2> "$dir/wait.log" || true; done
    pids=()
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "$*" >&2
    exit 1
}

# Waits until a command succeeds: until_true SECONDS COMMAND…
until_true() {
    local left=$(($1 * 20))
    shift
    until "$@" > "$dir/until.log" 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "waited in vain for: $*: $(tail -1 "$dir/until.log")"
        sleep 0.05
    done
}

# Writes a synthetic chain once: make_era NAME BLOCKS BLOCK_SIZE. Sets `era`, its folder, `archive`, its file, and `wanted`, what a
# fetch of it asks for.
make_era() {
    era=$dir/$1
    wanted=(--era 0 --out "$dir/fetched")
    # An era that has not all of its blocks is a range.
    [ "$2" = 8192 ] || wanted=("0..$2" --out "$dir/fetched/range.ere")
    [ -d "$era" ] || "$cairn" demo --write "$era" --blocks "$2" --block-size "$3" > "$dir/demo.log"
    archive=$(echo "$era"/archives/*.ere)
}

# Makes room for what is fetched.
empty_folders() {
    rm -rf "$dir/fetched" "$dir/leech"
    mkdir "$dir/fetched"
}

# CPU seconds of processes until now.
cpu_of() {
    local ticks=0 pid
    for pid in "$@"; do ticks=$((ticks + $(awk '{ print $14 + $15 }' "/proc/$pid/stat"))); done
    awk -v ticks="$ticks" -v hertz="$(getconf CLK_TCK)" 'BEGIN { print ticks / hertz }'
}

# Peak memory of a process in MB.
peak_of() {
    awk '/^VmHWM/ { printf "%.0f", $2 * 1.024 / 1000 }' "/proc/$1/status"
}

# Waits until processes use next to no time, but not for ever: at_rest NAME "PIDS". Peers that have just met offer one another what
# they have, at the cost of whatever is measured meanwhile.
at_rest() {
    local seconds before after
    # shellcheck disable=SC2086
    after=$(cpu_of $2)
    for seconds in $(seq 120); do
        before=$after
        sleep 1
        # shellcheck disable=SC2086
        after=$(cpu_of $2)
        if awk -v before="$before" -v after="$after" 'BEGIN { exit after - before > 0.05 }'; then
            echo "$1: seeders that have met are at rest after $seconds s"
            return
        fi
    done
    echo "$1: seeders that have met are still busy after $seconds s"
}

# Runs a fetch and notes under a name what it took: timed NAME "SERVERS' PIDS" COMMAND… What is said of the first run of a name
# does not count: it is for caches, and for what seeders check once.
timed() {
    local name=$1 servers=$2 before
    shift 2
    is_sound "$name" || return 0
    # What others wrote before is not to be written at this one's cost.
    sync
    # shellcheck disable=SC2086
    before=$(cpu_of $servers)
    if timeout 300 /usr/bin/time -o "$dir/time" -f '%e %U %S %M %w' "$@" > "$dir/$name.out" 2>&1; then
        # shellcheck disable=SC2086
        echo "$(tail -1 "$dir/time") $before $(cpu_of $servers)" >> "$dir/$name.runs"
    else
        tail -3 "$dir/$name.out" > "$dir/$name.failed"
    fi
}

# Whether all runs of a name have come to a good end until now.
is_sound() {
    [ ! -e "$dir/$1.failed" ]
}

# A line of the table for each name: table BYTES NAME… Times are compared with those of the first name.
table() {
    local bytes=$1 first=$2 name compared
    shift
    compared=$(median_of "$first")
    printf '%-18s %8s %8s %9s %10s %10s %10s %12s\n' "" median worst MB/s "CPU s/GB" peak wakings "of $first"
    for name; do
        summary "$name" "$bytes" | while read -r median worst rate cpu peak wakings; do
            printf '%-18s %6.2f s %6.2f s %9.0f %10.1f %7.0f MB %10.0f %12.2f\n' "$name" "$median" "$worst" "$rate" "$cpu" \
                "$peak" "$wakings" "$(awk -v t="$median" -v of="$compared" 'BEGIN { print of ? t / of : 0 }')"
        done
        failure_of "$name"
    done
    forget "$@"
}

# What runs of a name took: summary NAME BYTES. Prints the median and the worst of the seconds, MB a second, CPU seconds a GB of all
# processes together, and the fetcher's peak memory in MB and wakings (voluntary context switches). Nothing if it has failed.
summary() {
    is_sound "$1" && [ -e "$dir/$1.runs" ] || return 0
    tail -n +2 "$dir/$1.runs" | sort -n | awk -v gb="$2" '
        BEGIN { gb /= 1e9 }
        { s[NR] = $1; cpu += $2 + $3 + $7 - $6; wakings += $5; if ($4 > peak) peak = $4 }
        END { t = s[int((NR + 1) / 2)]; print t, s[NR], gb * 1000 / t, cpu / NR / gb, peak * 1.024 / 1000, wakings / NR }'
}

# Why runs of a name came to no good end, if they did not.
failure_of() {
    is_sound "$1" || echo "$1 failed: $(cat "$dir/$1.failed")"
}

# Forgets the runs of names.
forget() {
    local name
    for name; do rm -f "$dir/$name.runs" "$dir/$name.failed"; done
}

# Median of a name's seconds.
median_of() {
    summary "$1" 1 | cut -d' ' -f1
}
