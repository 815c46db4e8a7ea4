//! tmp
pub fn new(_g: &str, _u: &str, _x: &str) -> Result<String, String> {
    Err(String::new())
}
pub fn hash(_k: &str) -> Result<String, String> {
    Err(String::new())
}
