//! The rows that need nothing but tasks, the same words for every async runtime.

/// Defines `measure(row)`, a future of the figure. The module that asks says what its runtime calls things:
/// `Task<T>`, `spawn(future) -> Task<T>`, `joined(task).await -> T`, `yield_now().await`, `sleep(span).await`,
/// `sleep_until(instant).await`, `in_time(span, future).await`; and `others(row).await -> f64` for its own rows.
#[macro_export]
macro_rules! task_rows {
    () => {
        async fn measure(row: String) -> f64 {
            use $crate::{Clock, size};
            let clock = Clock::start();
            match row.as_str() {
                "yield" => {
                    yields().await;
                    clock.per(size::YIELDERS.0 * size::YIELDERS.1)
                }
                "spawn" => {
                    for n in 0..size::SPAWNS {
                        assert_eq!(joined(spawn(async move { n })).await, n);
                    }
                    clock.per(size::SPAWNS)
                }
                "skynet of 100,000" => skynet(clock, 100_000).await,
                "skynet of 1,000,000" => skynet(clock, 1_000_000).await,
                "timeout" => {
                    for _ in 0..size::TIMEOUTS {
                        in_time(std::time::Duration::from_secs(3600), yield_now()).await;
                    }
                    clock.per(size::TIMEOUTS)
                }
                "sleep" => {
                    sleeps().await;
                    clock.per(size::SLEEPERS.0 * size::SLEEPERS.1)
                }
                "p50" => $crate::percentile(lateness().await, 50),
                "p99" => $crate::percentile(lateness().await, 99),
                _ => others(&row).await,
            }
        }

        async fn yields() {
            let (tasks, each) = $crate::size::YIELDERS;
            let yields = || async move {
                for _ in 0..each {
                    yield_now().await;
                }
            };
            all((0..tasks).map(|_| spawn(yields())).collect()).await;
        }

        async fn skynet(clock: $crate::Clock, leaves: u64) -> f64 {
            assert_eq!(joined(child(0, leaves)).await, leaves * (leaves - 1) / 2);
            clock.per(leaves)
        }

        /// A function of its own, with a named type, so that the future of a branch does not contain itself.
        fn child(first: u64, leaves: u64) -> Task<u64> {
            spawn(branch(first, leaves))
        }

        async fn branch(first: u64, leaves: u64) -> u64 {
            if leaves == 1 {
                return first;
            }
            let part = leaves / 10;
            let children: [Task<u64>; 10] = std::array::from_fn(|n| child(first + n as u64 * part, part));
            let mut sum = 0;
            for child in children {
                sum += joined(child).await;
            }
            sum
        }

        async fn sleeps() {
            let (tasks, each) = $crate::size::SLEEPERS;
            let naps = |number| async move {
                let mut numbers = $crate::Numbers::seeded(number);
                for _ in 0..each {
                    sleep($crate::nap(&mut numbers)).await;
                }
            };
            all((0..tasks).map(|number| spawn(naps(number))).collect()).await;
        }

        async fn lateness() -> Vec<std::time::Duration> {
            let start = std::time::Instant::now();
            let sleeper = |number| async move {
                let due = $crate::wake_up(start, number);
                sleep_until(due).await;
                due.elapsed()
            };
            all((0..$crate::size::SLEEPERS.0).map(|number| spawn(sleeper(number))).collect()).await
        }

        async fn all<T: 'static>(tasks: Vec<Task<T>>) -> Vec<T> {
            let mut values = Vec::with_capacity(tasks.len());
            for task in tasks {
                values.push(joined(task).await);
            }
            values
        }
    };
}
