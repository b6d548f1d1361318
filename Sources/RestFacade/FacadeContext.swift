import Hummingbird
import Logging
import NIOCore

/// What is known of one request beside its head and body.
package struct FacadeContext: RequestContext {
    package var coreContext: CoreRequestContextStorage
    let channel: any Channel
    /// The client's `X-Request-Id` where it is usable, else one of ours. Set by the middleware.
    var requestID = ""

    package init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// Who asks, for the audit trail.
    var actor: String {
        channel.remoteAddress?.ipAddress.map { "anonymous@\($0)" } ?? "anonymous"
    }
}
