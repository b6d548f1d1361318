import NIOSSL
import Synchronization

/// The certificate the facade serves with. A new one counts for connections from then on.
package final class FacadeTLS: Sendable {
    private let current: Mutex<NIOSSLContext>

    /// - Throws: `NIOSSLError` and the like when certificate and key can't be read or don't belong together.
    package init(certificatePEM: [UInt8], keyPEM: [UInt8]) throws {
        current = Mutex(try Self.context(certificatePEM, keyPEM))
    }

    /// - Throws: as `init`; the earlier certificate then stays.
    package func use(certificatePEM: [UInt8], keyPEM: [UInt8]) throws {
        let context = try Self.context(certificatePEM, keyPEM)
        current.withLock { $0 = context }
    }

    private static func context(_ certificate: [UInt8], _ key: [UInt8]) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: key, format: .pem)))
        configuration.minimumTLSVersion = .tlsv12
        return try NIOSSLContext(configuration: configuration)
    }

    /// The one for the next connection.
    var context: NIOSSLContext { current.withLock { $0 } }
}
