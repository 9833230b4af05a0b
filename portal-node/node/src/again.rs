//! Asks again for what somebody waits for. A lookup ends in seconds; it may end without having learned anything, because this
//! node has just come up and knows nobody yet, or because those who could have told were busy, silent or lying.

use std::time::Duration;

use tokio::time::Instant;

/// How long is waited before the next try, more or less a quarter.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What `ask` brings, which is asked again as long as its failure is not settled, there are tries left, and the pause before
/// the next, and the next if it takes as long as this one, end within `patience`: whoever waits no longer than that is told why it
/// failed, rather than that it took too long.
pub(crate) async fn until_settled<T, E, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    ask: impl Fn() -> F,
    is_settled: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let begun = Instant::now();
    for pause in PAUSES {
        // Many who failed together do not come back together.
        let (pause, asked) = (pause.mul_f64(rand::random_range(0.75..1.25)), Instant::now());
        match ask().await {
            Err(failure) if !is_settled(&failure) && begun.elapsed() + pause + asked.elapsed() < patience => {
                tokio::time::sleep(pause).await;
            }
            outcome => return outcome,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_is_not_settled_is_asked_again_after_pauses_that_grow() {
        let (begun, asked) = (Instant::now(), Cell::new(0));
        let ask = |fails: usize| {
            asked.set(asked.get() + 1);
            let outcome = if asked.get() > fails { Ok(asked.get()) } else { Err("silent") };
            async move { outcome }
        };
        assert_eq!(until_settled(LONG, || ask(2), |_| false).await, Ok(3));
        let paused = PAUSES[0] + PAUSES[1];
        assert!((paused * 3 / 4..paused * 5 / 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        asked.set(0);
        assert_eq!(until_settled(LONG, || ask(usize::MAX), |_| false).await, Err("silent"));
        assert_eq!(asked.replace(0), PAUSES.len() + 1);
        assert_eq!(until_settled(LONG, || ask(usize::MAX), |_| true).await, Err("silent"));
        assert_eq!(asked.replace(0), 1);
        let patience = PAUSES[0] + PAUSES[1] / 2;
        assert_eq!(until_settled(patience, || ask(usize::MAX), |_| false).await, Err("silent"));
        assert_eq!(asked.get(), 2, "the second pause would not end in time");
    }
}
