@preconcurrency import Dispatch
import Glibc

/// The socket at which nginx's workers say that requests have begun to wait: datagrams whose content does not matter.
/// Anybody on the machine may write to it; all that comes of it is a look at the counters.
final class WakeSocket {
    private let source: any DispatchSourceRead

    /// - Parameter onWake: called on `queue`, once for whatever has come since the last call.
    init(path: String, queue: DispatchQueue, onWake: @escaping @Sendable () -> Void) throws(ProxyError) {
        let operation = "opening the socket for waiting requests"
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw .system(operation, path, errno) }
        do throws(ProxyError) {
            try Self.bind(descriptor, to: path, operation)
        } catch {
            close(descriptor)
            throw error
        }
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler {
            var byte: UInt8 = 0
            // Bounded: who floods the socket must not keep the queue. What is left calls again.
            for _ in 0..<64 {
                if recv(descriptor, &byte, 1, 0) < 0 { break }
            }
            onWake()
        }
        source.setCancelHandler { close(descriptor) }
        source.resume()
    }

    deinit { source.cancel() }

    private static func bind(_ descriptor: Int32, to path: String, _ operation: String) throws(ProxyError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard path.utf8.count < capacity else {
            throw ProxyError(.inputOutput, while: operation, "the socket's path is too long: \(path)")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        // Left by this node's last process; the folder's lock says that it is gone.
        unlink(path)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw .system(operation, path, errno) }
        // The workers run as another user.
        guard chmod(path, 0o666) == 0 else { throw .system(operation, path, errno) }
    }
}
