import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import WireProtocol

/// Making connections, and making them again.
extension LinkTable {
    struct DialKey: Hashable {
        var peer: NodeID
        var channel: ChannelKind
    }

    struct Dial {
        /// Failures in a row.
        var failures = 0
        /// An attempt is under way, or its connection stands.
        var isBusy = false
        var establishedAt: NIODeadline?
        /// Said once at a level operators see, until it changes.
        var lastReason = ""
    }

    /// TCP_USER_TIMEOUT of tcp(7), in milliseconds; Linux only, NIO has no name for it.
    private static var userTimeout: NIOBSDSocket.Option { NIOBSDSocket.Option(rawValue: 18) }

    /// Options of every connection, both ways.
    func options() -> [(ChannelOptions.Types.SocketOption, ChannelOptions.Types.SocketOption.Value)] {
        #if os(Linux)
            let patience = Int(configuration.timing.silenceLimit.inMilliseconds)
            return [
                (.init(level: .tcp, name: .tcp_nodelay), 1), (.init(level: .tcp, name: Self.userTimeout), patience),
            ]
        #else
            return [(.init(level: .tcp, name: .tcp_nodelay), 1)]
        #endif
    }

    /// The peers this node connects to: a controller to those with higher ids, a worker to all.
    func dialAll() {
        home.preconditionInEventLoop()
        let me = configuration.me
        for peer in configuration.peers.keys.sorted() where peer != me.id {
            guard me.role == .worker || me.id < peer else { continue }
            for channel in ChannelKind.allCases { dial(DialKey(peer: peer, channel: channel)) }
        }
    }

    private func dial(_ key: DialKey) {
        guard !isShutDown, let address = configuration.peers[key.peer] else { return }
        guard dials[key]?.isBusy != true else { return }
        dials[key, default: Dial()].isBusy = true
        connect(key, to: address, isRenewal: false).hop(to: home).whenFailure { error in
            self.dialEnded(key, reason: "\(address): \(error)")
        }
    }

    func connect(_ key: DialKey, to address: PeerAddress, isRenewal: Bool) -> EventLoopFuture<any Channel> {
        let side = Handshake.Side.dialer(key.peer, key.channel)
        // Control connections share the links' event loop; bulk ones get another where there is one.
        let loop = key.channel == .control ? home : group.next()
        var bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(configuration.timing.connectTimeout))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.setUp(channel, side: side, isRenewal: isRenewal) }
            }
        for (option, value) in options() { bootstrap = bootstrap.channelOption(option, value: value) }
        let target: SocketAddress?
        do {
            if let source = try sourceAddress() { bootstrap = bootstrap.bind(to: source) }
            // Names are looked up by NIO, away from the event loop.
            target = try? SocketAddress(ipAddress: address.host, port: address.port)
        } catch {
            return home.makeFailedFuture(PeerError.cannotStart("source address \(configuration.listenHost): \(error)"))
        }
        return target.map { bootstrap.connect(to: $0) } ?? bootstrap.connect(host: address.host, port: address.port)
    }

    /// Fault tests and firewalls tell nodes apart by address, so a specific one is used in both directions.
    private func sourceAddress() throws -> SocketAddress? {
        let host = configuration.listenHost
        guard !["", "0.0.0.0", "::", "localhost"].contains(host) else { return nil }
        return try SocketAddress(ipAddress: host, port: 0)
    }

    func noteEstablished(_ identity: PeerIdentity) {
        let key = DialKey(peer: identity.node.id, channel: identity.channel)
        dials[key]?.establishedAt = .now()
    }

    /// The attempt failed, or its connection is gone.
    func dialEnded(_ key: DialKey, reason: String) {
        guard !isShutDown, var dial = dials[key], dial.isBusy else { return }
        dial.isBusy = false
        let metadata: Logger.Metadata = [
            "peer.id": "\(key.peer)", "channel": "\(key.channel)", "reason": "\(reason)",
        ]
        if dial.establishedAt != nil || dial.lastReason == reason {
            logger.debug("Connecting again", metadata: metadata)
        } else {
            logger.warning("Can't connect to peer", metadata: metadata)
        }
        // A connection that lasted starts the waits anew; one that was refused at once does not.
        if let since = dial.establishedAt, NIODeadline.now() - since > .seconds(2) { dial.failures = 0 }
        dial.lastReason = dial.establishedAt == nil ? reason : ""
        dial.establishedAt = nil
        let wait = configuration.timing.retryDelay(afterFailures: dial.failures, random: .random(in: 0...1))
        dial.failures += 1
        dials[key] = dial
        home.scheduleTask(in: TimeAmount(wait)) { self.dial(key) }
    }
}

extension PeerTransportConfiguration.Timing {
    /// Doubles from `firstRetry` to `longestRetry`; between half and all of that, so that nodes don't dial in step.
    /// - Parameter random: 0…1.
    func retryDelay(afterFailures failures: Int, random: Double) -> Duration {
        let longest = min(firstRetry * (1 << min(failures, 20)), longestRetry)
        return longest * (0.5 + 0.5 * random)
    }
}
