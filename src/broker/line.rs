//! A line over a socket, bounded in length and in time whatever the other side does.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes that are read in one go.
const PIECE: usize = 4096;

/// Reads up to the end of a line. What comes after it is nobody's.
pub fn read(stream: &mut UnixStream, longest: usize, patience: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience;
    let mut line = Vec::new();
    let mut piece = [0; PIECE];
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        let count = match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The next look at the clock says that time is over.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            count => count?,
        };
        let read = piece.get(..count).unwrap_or_default();
        let until = read.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(read.get(..until.unwrap_or(count)).unwrap_or_default());
        if line.len() > longest {
            let reason = format!("a line of more than {longest} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if until.is_some() {
            return Ok(line);
        }
    }
}

/// Writes a line.
pub fn write(stream: &mut UnixStream, line: &[u8], patience: Duration) -> io::Result<()> {
    let end = Instant::now() + patience;
    let mut rest = line;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(end)?))?;
        match stream.write(rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(end: Instant) -> io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_line_ends_where_it_ends() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        write(&mut one, b"a line\nmore", LONG).unwrap();
        assert_eq!(read(&mut other, 6, LONG).unwrap(), b"a line");
        drop(one);
        let kind = |result: io::Result<Vec<u8>>| result.unwrap_err().kind();
        assert_eq!(kind(read(&mut other, 6, LONG)), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_has_no_end_is_not_kept() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || while one.write_all(&[b'x'; PIECE]).is_ok() {});
        let error = read(&mut other, 3 * PIECE, LONG).unwrap_err();
        assert_eq!(error.to_string(), "a line of more than 12288 bytes");
        drop(other);
        writer.join().unwrap();
    }

    #[test]
    fn a_byte_now_and_then_gains_no_time() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            while one.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let error = read(&mut other, PIECE, Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(other);
        writer.join().unwrap();
        // Nor does one who does not read.
        let (mut one, _other) = UnixStream::pair().unwrap();
        let error = write(&mut one, &vec![b'x'; 8 << 20], Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
