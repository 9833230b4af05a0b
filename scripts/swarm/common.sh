# What all sections share: programs, a folder, processes that end with the script, runs that are timed.

bin=${BENCH_SWARM_BIN:-$PWD/target/release}
examples=${BENCH_SWARM_BIN:-$PWD/target/release/examples}
cairn=$bin/cairn copy=$examples/copy crowd=$examples/crowd liar=$examples/liar
dir=$(mktemp -d "${TMPDIR:-/tmp}/bench-swarm.XXXXXX")
# The tracker drops its rights before it reads what it is given.
chmod 755 "$dir"
pids=()

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

# Writes a synthetic chain once: make_era NAME BLOCKS BLOCK_SIZE. Sets `era`, its folder, and `archive`, its file.
make_era() {
    era=$dir/$1
    [ -d "$era" ] || "$cairn" demo --write "$era" --blocks "$2" --block-size "$3" > "$dir/demo.log"
    archive=$(echo "$era"/archives/*.ere)
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

# Runs a fetch and notes under a name what it took: timed NAME "SERVERS' PIDS" COMMAND… What is said of the first run of a name
# does not count: it is for caches, and for what seeders check once.
timed() {
    local name=$1 servers=$2 before
    shift 2
    [ -e "$dir/$name.failed" ] && return
    # What others wrote before is not to be written at this one's cost.
    sync
    # shellcheck disable=SC2086
    before=$(cpu_of $servers)
    if timeout 300 /usr/bin/time -o "$dir/time" -f '%e %U %S %M' "$@" > "$dir/$name.out" 2>&1; then
        # shellcheck disable=SC2086
        echo "$(tail -1 "$dir/time") $before $(cpu_of $servers)" >> "$dir/$name.runs"
    else
        tail -3 "$dir/$name.out" > "$dir/$name.failed"
    fi
}

# A line of the table for each name: median seconds, and so on: table BYTES NAME…; the ratio is that to the first name.
table() {
    local bytes=$1 name first=
    shift
    printf '%-24s %8s %8s %8s %14s %8s %10s\n' "" "median" "worst" "MB/s" "CPU s a GB" "fetcher" "times"
    for name in "$@"; do
        if [ -e "$dir/$name.failed" ]; then
            echo "$name failed: $(cat "$dir/$name.failed")"
        elif [ -e "$dir/$name.runs" ]; then
            tail -n +2 "$dir/$name.runs" | sort -n | awk -v name="$name" -v gb="$bytes" -v first="$first" '
                BEGIN { gb /= 1e9 }
                { s[NR] = $1; cpu += $2 + $3 + $6 - $5; if ($4 > m) m = $4 }
                END { t = s[int((NR + 1) / 2)]
                      printf "%-24s %6.2f s %6.2f s %8.0f %14.2f %5.0f MB %10.2f\n",
                          name, t, s[NR], gb * 1000 / t, cpu / NR / gb, m * 1.024 / 1000, first ? t / first : 1 }'
            [ -n "$first" ] || first=$(median_of "$name")
        fi
        rm -f "$dir/$name.runs" "$dir/$name.failed"
    done
}

# Median of a name's seconds.
median_of() {
    tail -n +2 "$dir/$1.runs" | sort -n | awk '{ s[NR] = $1 } END { print s[int((NR + 1) / 2)] }'
}
