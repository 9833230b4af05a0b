# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# The era's file as a torrent: a tracker, seeders and fetches of aria2c and rqbit, for comparison. Whoever runs the bench installs
# them; without one, its rows are left out.

# Says which clients are not here. Sets `clients` to those that are.
find_clients() {
    clients=()
    if command -v aria2c > "$dir/which"; then clients+=(aria2c)
    else echo "aria2c is not here (apt-get install aria2, say): left out"; fi
    if command -v rqbit > "$dir/which"; then clients+=(rqbit)
    else echo "rqbit is not here (cargo install --locked rqbit): left out"; fi
}

# Starts a torrent of the era: its tracker, and seeders of one client that check the file first, each on the next host:
# start_torrent CLIENT COUNT. Sets `seeders`, and `fetch`, the command of a fetch into `leech`.
start_torrent() {
    local client=$1 count=$2 i folder port=26998 tracker torrent=$dir/$1.torrent all
    all=$dir/torrents/$(basename "$archive")
    at 0
    # Each client has a tracker of its own, so that none meets the other's seeders.
    [ "$client" = aria2c ] || port=26999
    tracker=$ip:$port
    python3 scripts/swarm/tracker.py make "$archive" "http://$tracker/announce" > "$torrent"
    "${on[@]}" python3 scripts/swarm/tracker.py serve "$ip" "$port" > "$dir/tracker.log" 2>&1 &
    pids+=($!)
    # A copy of its own: a link more counts as a change of the file, and cairn checks it anew.
    mkdir -p "$dir/torrents"
    [ -e "$all" ] || cp "$archive" "$all"
    seeders=()
    for i in $(seq "$count"); do
        folder=$dir/$client$i
        mkdir -p "$folder"
        ln -f "$all" "$folder/"
        at "$i"
        case $client in
            aria2c) aria2_flags $((26100 + i))
                "${on[@]}" aria2c "${flags[@]}" --seed-ratio=0 --check-integrity=true --dir="$folder" "$torrent" \
                    > "$folder.log" 2>&1 & ;;
            rqbit) rqbit_flags $((26200 + i))
                "${on[@]}" rqbit "${flags[@]}" -o "$folder" --overwrite "$torrent" > "$folder.log" 2>&1 & ;;
        esac
        pids+=($!)
        seeders+=($!)
    done
    at 0
    until_true 60 has_seeds "$tracker" "$count"
    case $client in
        aria2c) aria2_flags 26100
            fetch=("${on[@]}" aria2c "${flags[@]}" --seed-time=0 --dir="$dir/leech" "$torrent") ;;
        rqbit) rqbit_flags 26200
            fetch=("${on[@]}" rqbit "${flags[@]}" --exit-on-finish -o "$dir/leech" "$torrent") ;;
    esac
}

# Flags of a client that listens on a port of the chosen host, and finds others by the tracker alone. Sets `flags`.
aria2_flags() {
    flags=(-q --enable-dht=false --enable-dht6=false --bt-enable-lpd=false --disable-ipv6=true --interface="$ip"
        --listen-port="$1" --file-allocation=none --max-overall-upload-limit=0 --allow-overwrite=true)
}
rqbit_flags() {
    flags=(-v error --disable-dht --disable-lsd --disable-upnp-port-forward --ipv4-only --listen-ip "$ip" --listen-port "$1"
        --announce-port "$1" download --disable-http-api)
}

# Whether a tracker knows so many that have everything: has_seeds TRACKER COUNT
has_seeds() {
    [ "$("${on[@]}" curl -s --max-time 2 "http://$1/seeds")" = "$2" ]
}

# Whether what a client fetched is the era's file.
check_leech() {
    cmp "$archive" "$dir/leech/$(basename "$archive")" || fail "$1: another file"
}
