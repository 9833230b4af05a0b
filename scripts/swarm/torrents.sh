# The era's file as a torrent: a tracker, seeders and fetches of aria2c and rqbit.

# No DHT, no other discovery than the tracker, nothing but loopback.
aria2_flags=(-q --enable-dht=false --enable-dht6=false --bt-enable-lpd=false --disable-ipv6=true --interface=127.0.0.1
    --file-allocation=none --max-overall-upload-limit=0 --allow-overwrite=true)
rqbit_flags=(-v error --disable-dht --disable-lsd --disable-upnp-port-forward --ipv4-only --listen-ip 127.0.0.1)

# A tracker for one client, so that none meets the other's seeders. Sets `torrent` and `tracker`, its address.
start_tracker() {
    case $1 in
        aria2c) tracker=127.0.0.1:26998 ;;
        rqbit) tracker=127.0.0.1:26999 ;;
    esac
    torrent=$dir/$1.torrent
    transmission-create -p -t "http://$tracker/announce" -o "$torrent" "$archive" > "$dir/create.log"
    # Debian's serves listed torrents only.
    transmission-show "$torrent" | awk '/Hash( v1)?:/ { print $NF; exit }' > "$dir/listed"
    opentracker -i 127.0.0.1 -p "${tracker#*:}" -P "${tracker#*:}" -w "$dir/listed" > "$dir/tracker.log" 2>&1 &
    pids+=($!)
}

# Whether the tracker knows so many that have everything.
has_seeds() {
    # d8:completei4e…
    curl -s --max-time 2 "http://$tracker/scrape?info_hash=$(sed 's/../%&/g' "$dir/listed")" | grep -aq "8:completei$1e"
}

# Starts seeders of one client, which check the file first. Sets `seeders`.
torrent_seeders() {
    local client=$1 i folder copy_of_all=$dir/torrents
    seeders=()
    # A copy of its own: a link more counts as a change of the file, and cairn checks it anew.
    mkdir -p "$copy_of_all"
    [ -e "$copy_of_all/$(basename "$archive")" ] || cp "$archive" "$copy_of_all/"
    for i in $(seq "$2"); do
        folder=$dir/$client$i
        mkdir -p "$folder"
        ln -f "$copy_of_all/$(basename "$archive")" "$folder/"
        case $client in
            aria2c) aria2c "${aria2_flags[@]}" --listen-port=$((26100 + i)) --seed-ratio=0 --check-integrity=true \
                --dir="$folder" "$torrent" > "$folder.log" 2>&1 & ;;
            rqbit) rqbit "${rqbit_flags[@]}" --listen-port $((26200 + i)) --announce-port $((26200 + i)) \
                download --disable-http-api -o "$folder" --overwrite "$torrent" > "$folder.log" 2>&1 & ;;
        esac
        pids+=($!)
        seeders+=($!)
    done
}

# Sets `fetch`, the command of a fetch by this client into `leech`.
torrent_fetch() {
    case $1 in
        aria2c) fetch=(aria2c "${aria2_flags[@]}" --listen-port=26100 --seed-time=0 --dir="$dir/leech" "$torrent") ;;
        rqbit) fetch=(rqbit "${rqbit_flags[@]}" --listen-port 26200 --announce-port 26200 download --disable-http-api --exit-on-finish
            -o "$dir/leech" "$torrent") ;;
    esac
}
