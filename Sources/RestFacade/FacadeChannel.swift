import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOSSL
import Synchronization

/// How the facade takes a connection: as Hummingbird's `HTTP1Channel`, in TLS with the certificate of the moment, and
/// unharmed by a listener that closes meanwhile.
struct FacadeChannel: ServerChildChannel {
    let base: HTTP1Channel
    let tls: FacadeTLS?

    static func server(_ configuration: HTTP1Channel.Configuration, tls: FacadeTLS?) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            FacadeChannel(base: HTTP1Channel(responder: responder, configuration: configuration), tls: tls)
        }
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<AcceptedConnection> {
        channel.eventLoop.makeCompletedFuture {
            guard let tls else { return }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.context))
        }.flatMap {
            base.setup(channel: channel, logger: logger)
        }.map(AcceptedConnection.init)
    }

    func handle(value: AcceptedConnection, logger: Logger) async {
        guard let connection = value.take() else { return }
        await base.handle(value: connection, logger: logger)
    }
}

/// A connection on its way from the listener to whoever serves it. A listener that closes meanwhile drops it unserved;
/// `NIOAsyncChannel` then ends the whole process ("Deinited NIOAsyncWriter without calling finish()", swift-nio #3111), so
/// that a node that stops while clients come in would crash instead. This closes what nobody served.
final class AcceptedConnection: ServerChildChannelValue {
    let channel: any Channel
    private let connection: Mutex<HTTP1Channel.Value?>

    init(_ connection: HTTP1Channel.Value) {
        channel = connection.channel
        self.connection = Mutex(connection)
    }

    /// - Returns: nil when it was taken before.
    func take() -> HTTP1Channel.Value? { connection.withLock { $0.take() } }

    deinit {
        guard let unserved = take() else { return }
        // Nobody waits for it, nor for why it ended.
        Task { try? await unserved.executeThenClose { _, _ in } }
    }
}
