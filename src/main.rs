//! Etude.
fn main() {
    let options = etude::app::RunOptions { scene: std::env::args().nth(1).unwrap_or("move_t".into()), ..Default::default() };
    let loaded = etude::app::Loaded::new(&options).unwrap();
    etude::window::open(&loaded, &options, 7);
}
