# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# Peak memory: of a fetch from four seeders, and of a seeder whom a hundred peers are connected with, each from an address and
# with a key of its own, that all fetch at once.

section_memory() {
    local run flags
    make_era era 8192 100000
    start_seeders 4
    for run in $(seq "$runs"); do
        /usr/bin/time -o "$dir/time" -f %M "${fetch[@]}" > "$dir/fetch.out" 2>&1 || fail "$(tail -3 "$dir/fetch.out")"
        check_fetched
        echo "fetch of an era: $(awk '{ printf "%.0f", $1 * 1.024 / 1000 }' "$dir/time") MB"
    done
    stop
    rm -rf "$dir/peers"

    start_seeders 1
    echo "seeder, before anybody is connected: $(peak_of "${seeders[0]}") MB"
    read -ra flags <<< "$(crowd_flags seeder1 25010)"
    "$crowd" ranges "${flags[@]}" 100 32
    echo "seeder, 100 connections that fetch a run each: $(peak_of "${seeders[0]}") MB"
    stop
    rm -rf "$dir/peers"
}
