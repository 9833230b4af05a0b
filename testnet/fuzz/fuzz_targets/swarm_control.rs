//! Messages of a connection's control stream, and what becomes of the sets of runs that they tell of.
#![no_main]

use cairn_swarm::geometry::RunSet;
use cairn_swarm::wire::Control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let Ok(Some(control)) = Control::decode(message) else { return };
    assert_eq!(Control::decode(&control.encode()), Ok(Some(control.clone())));
    if let Control::Have(have) = control {
        let mut held = RunSet::default();
        have.apply(&mut held);
        // What was told twice is no more than what was told once.
        let once = held.clone();
        have.apply(&mut held);
        assert_eq!(held, once);
    }
});
