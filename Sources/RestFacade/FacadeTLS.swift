import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
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

    fileprivate var context: NIOSSLContext { current.withLock { $0 } }

    func server(_ configuration: HTTP1Channel.Configuration) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            RenewableTLSChannel(base: HTTP1Channel(responder: responder, configuration: configuration), tls: self)
        }
    }
}

/// As Hummingbird's own `TLSChannel`, but with the certificate of the moment instead of the one of the start.
private struct RenewableTLSChannel: ServerChildChannel {
    let base: HTTP1Channel
    let tls: FacadeTLS

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        let context = tls.context
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
        }.flatMap {
            base.setup(channel: channel, logger: logger)
        }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}
