//! Etude.
fn main() {
    let options = etude::app::RunOptions { scene: std::env::args().nth(1).unwrap_or("move_t".into()), ..Default::default() };
    let n: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(10);
    let mut h = etude::headless::Headless::new(&options).unwrap();
    let t = std::time::Instant::now();
    let mut ticks = 0;
    let mut ok = 0;
    for seed in 0..n {
        let r = h.run(seed).unwrap();
        ticks += r.ticks;
        ok += r.success as u64;
        println!("{r:?}");
    }
    println!("{ok}/{n} {:.0} ticks/s", ticks as f64 / t.elapsed().as_secs_f64());
}
