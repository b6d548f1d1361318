import Glibc
import NIOCore

/// Appends the secrets of TLS connections to a file, in the format Wireshark reads (NSS key log), so that an operator can
/// look into captured traffic. Only where the configuration names a file: who has it can read everything.
final class TLSKeyLog: Sendable {
    private let descriptor: CInt

    /// - Throws: `PeerError.cannotStart` when the file can't be opened for appending.
    init(path: String) throws(PeerError) {
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw .cannotStart("cluster.tls_key_log \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// Called on event loops, a few times for each handshake: one small write to a local file, whole because of O_APPEND.
    /// What can't be written is left out: traffic goes on, only it can't be looked into.
    func append(_ line: ByteBuffer) {
        line.withUnsafeReadableBytes { bytes in _ = write(descriptor, bytes.baseAddress, bytes.count) }
    }
}
