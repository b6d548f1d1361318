import NodeConfiguration
import OrchestryModel
import PeerTransport
import ProxyConfig
import ProxyControl

/// Tells this node's nginx which REST facades there are and who leads, each time that changes. What changes while one
/// list is on its way is told with the next.
final class FacadeAnnouncer: Sendable {
    private let proxy: NginxController?
    private let list: @Sendable () -> FacadeList?
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init(proxy: NginxController?, list: @escaping @Sendable () -> FacadeList?) {
        self.proxy = proxy
        self.list = list
        (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    func wake() { signal.yield() }
    func stop() { signal.finish() }

    /// Until cancelled.
    func run() async {
        wake()
        for await _ in signals {
            if Task.isCancelled { return }
            if let list = list() { await proxy?.announce(list) }
        }
    }

    /// Where a facade that listens on `host` is reached on this machine.
    static func address(_ host: String) -> String {
        switch host {
        case "localhost", "0.0.0.0", "": "127.0.0.1"
        case "::": "::1"
        default: host
        }
    }

    /// The address in `http://address:port`; nil for other schemes, and for names, which nginx's balancer can't look up.
    static func endpoint(of url: String) -> Endpoint? {
        guard url.hasPrefix("http://") else { return nil }
        let authority = url.dropFirst(7).prefix { $0 != "/" }
        guard let colon = authority.lastIndex(of: ":"), let port = Int(authority[authority.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        let host = authority[..<colon].filter { $0 != "[" && $0 != "]" }
        let address = host == "localhost" ? "127.0.0.1" : host
        return AddressRange(rawValue: address).map { Endpoint(host: $0.rawValue, port: port) }
    }
}

extension Node {
    /// This node's own facade first, then those of the controllers it is connected to.
    func facadeList() -> FacadeList {
        let own = Endpoint(host: FacadeAnnouncer.address(configuration.apiHost), port: configuration.apiPort)
        var facades = [FacadeList.Facade(node: id, endpoint: own)]
        for peer in transport.connectedPeers.sorted(by: { $0.id < $1.id }) where peer.role == .controller {
            guard let endpoint = FacadeAnnouncer.endpoint(of: peer.apiURL), endpoint != own else { continue }
            facades.append(FacadeList.Facade(node: peer.id, endpoint: endpoint))
        }
        return FacadeList(facades: facades, leader: leader)
    }
}
