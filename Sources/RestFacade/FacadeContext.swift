import Hummingbird
import Logging
import NIOCore
import OrchestryModel

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

    /// Who asks; nil: not found out (yet). Set before a route is answered.
    var caller: Caller?

    /// The client's address: the connection's, or what a proxy of the cluster says of it.
    func address(_ request: Request, proxies: Set<String>) -> String? {
        guard let peer = channel.remoteAddress?.ipAddress else { return nil }
        guard proxies.contains(peer), let forwarded = request.headers[.forwardedFor] else { return peer }
        // Each proxy adds whom it got the request from at the end.
        let hops = forwarded.split(separator: ",").map { $0.filter { $0 != " " } }
        return hops.last { !proxies.contains($0) && AddressRange(rawValue: $0) != nil } ?? peer
    }
}
