# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# An era over long paths: four seeders and a fetcher, each in a network namespace of its own, and between them the router of
# testnet/paths. The fetcher's link is what limits them, in both directions; delay and loss are on the way before it.

# Two cores are not what limits a fetch then.
link_mbit=200

section_network() {
    local clients path
    find_clients
    make_era era 8192 100000
    echo "a link of $link_mbit Mbit/s at the fetcher; medians of $runs runs after one that does not count"
    echo "share: of the link, by the file's bytes (the heads of packets take some 4 % in any case)"
    echo "dropped: of the packets that came to the fetcher's link, all runs together; late: of packets that the router handed over, on"
    echo "average and at most (much means that the machine was too busy); bare bytes by QUIC have BBR, TCP has $(cat \
        /proc/sys/net/ipv4/tcp_congestion_control) on this system"
    # Round trip in ms, loss in percent.
    for path in "20 0" "20 1" "100 1"; do
        # shellcheck disable=SC2086
        over_path $path
    done
}

# A table: over_path ROUND_TRIP LOSS
over_path() {
    local name
    printf '\nround trip %s ms, %s %% lost each way\n' "$1" "$2"
    printf '%-18s %8s %8s %7s %10s %10s %9s %16s\n' "" median worst share "CPU s/GB" peak dropped late
    for name in cairn "${clients[@]}" bare-quic bare-tcp; do
        # A network for each, so that what it dropped is known.
        start_paths "$1" "$2"
        fetch_far "$name"
        stop
        stop_paths
        far_row "$name"
        rm -rf "$dir/peers"
    done
}

# Fetches the era by one means from four far hosts, as often as it is to be.
fetch_far() {
    local run bytes
    bytes=$(stat -c %s "$archive")
    case $1 in
        cairn) start_seeders 4 ;;
        bare-quic) start_copies quic-bbr 4; fetch=("${on[@]}" "$copy" fetch quic "$bytes" "${addresses[@]}") ;;
        bare-tcp) start_copies tcp 4; fetch=("${on[@]}" "$copy" fetch tcp "$bytes" "${addresses[@]}") ;;
        *) start_torrent "$1" 4 ;;
    esac
    for run in $(seq 0 "$runs"); do
        empty_folders
        timed "$1" "${seeders[*]}" "${fetch[@]}"
        is_sound "$1" || return 0
        case $1 in
            cairn)
                check_fetched
                [ "$run" != 0 ] || at_rest "$1" "${seeders[*]}" > "$dir/rest.log" ;;
            bare-*) ;;
            *) check_leech "$1" ;;
        esac
    done
}

# Prints how fast the file came, and what the router says.
far_row() {
    local name=$1
    summary "$name" "$(stat -c %s "$archive")" | while read -r median worst rate cpu peak _; do
        awk -v name="$name" -v median="$median" -v worst="$worst" -v rate="$rate" -v mbit="$link_mbit" -v cpu="$cpu" \
            -v peak="$peak" '
            # What was for the fetcher: packets, bytes, lost, dropped.
            $1 == "10.77.0.1" && NF == 5 { dropped = $5 / ($2 + $5) * 100 }
            $1 == "late" { late = $2; latest = $3 }
            END { printf "%-18s %6.2f s %6.2f s %7.2f %10.1f %7.0f MB %7.2f %% %5.2f, %6.1f ms\n",
                      name, median, worst, rate * 8 / mbit, cpu, peak, dropped, late, latest }' "$dir/paths"
    done
    failure_of "$name"
    forget "$name"
}

# Begins a network of five hosts: start_paths ROUND_TRIP LOSS. Before the fetcher's link may wait what passes it in a round trip, or
# in 50 ms if that is more.
start_paths() {
    local queue=$(($1 > 50 ? $1 : 50))
    rm -f "$dir/paths"
    # The network ends with its standard input, and so with this script.
    coproc router {
        exec "$paths" "$1" "$2" "$queue" "10.77.0.1=$link_mbit" 10.77.0.{2..5} > "$dir/paths" 2> "$dir/paths.log"
    }
    router_pid=$!
    until_true 10 begun_or_ended
    has_paths || fail "no network with long paths: $(cat "$dir/paths.log")"
    mapfile -t hosts < <(head -5 "$dir/paths" | cut -d' ' -f2)
}

begun_or_ended() {
    has_paths || ! kill -0 "$router_pid"
}

has_paths() {
    [ "$(wc -l < "$dir/paths")" -ge 5 ]
}

# Ends it, after which `paths` in the folder of the bench says what became of the packets.
stop_paths() {
    # shellcheck disable=SC1083,SC2093 # it closes a descriptor, and replaces nothing
    exec {router[1]}>&-
    wait "$router_pid"
    hosts=()
    at 0
}
