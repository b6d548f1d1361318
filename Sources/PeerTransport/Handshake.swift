import OrchestryModel
import WireProtocol

/// Who is at the other end, once the Hello exchange has shown it.
package struct PeerIdentity: Hashable, Sendable {
    package var node: NodeInfo
    package var incarnation: UInt64
    package var channel: ChannelKind
    /// The protocol version both speak.
    package var version: UInt16
    /// `PeerFeatures` it has.
    package var features: UInt64

    package init(
        node: NodeInfo, incarnation: UInt64, channel: ChannelKind, version: UInt16,
        features: UInt64 = PeerFeatures.own
    ) {
        self.node = node
        self.incarnation = incarnation
        self.channel = channel
        self.version = version
        self.features = features
    }

    /// Before the acceptor's answer: the dialler wants it so. After it: the connection goes on where another ends.
    package var continues: Bool {
        get { features & PeerFeatures.continues != 0 }
        set { features = newValue ? features | PeerFeatures.continues : features & ~PeerFeatures.continues }
    }
    package var canRenew: Bool { features & PeerFeatures.renewal != 0 }
}

/// The Hello exchange of one connection. Pure: messages in, steps out; `proto-spec/framing.md` has the sequence.
package struct Handshake {
    package enum Side: Hashable {
        case acceptor
        /// The node that is expected to answer, and what the connection is for.
        case dialer(NodeID, ChannelKind)
    }

    package enum Step: Hashable {
        case send(Message)
        /// The peer is who it says; whether there is room for this connection is for the links to say.
        case requestAdmission(PeerIdentity)
        case establish(PeerIdentity)
        /// Say why, and close.
        case fail(ErrorCode, String)
        /// The peer said why, and closes.
        case refused(ErrorCode, String)
    }

    /// What both sides know about themselves.
    package struct Local: Sendable {
        package var me: NodeInfo
        package var cluster: ClusterID
        package var incarnation: UInt64
        /// nil: the connection is TLS, and certificates say who the peer is.
        package var secret: SharedSecret?
        package init(me: NodeInfo, cluster: ClusterID, incarnation: UInt64, secret: SharedSecret?) {
            self.me = me
            self.cluster = cluster
            self.incarnation = incarnation
            self.secret = secret
        }
    }

    private enum State {
        case idle
        case awaitingHello
        case awaitingChallenge(nonce: [UInt8])
        case awaitingProof(PeerIdentity, SharedSecret.Transcript)
        case awaitingAdmission(PeerIdentity)
        case awaitingAccepted
        case over
    }

    let side: Side
    let local: Local
    /// Of a dialler: the connection is to go on where the standing one of its channel ends.
    private let continues: Bool
    private var state = State.idle

    package init(side: Side, local: Local, continues: Bool = false) {
        self.side = side
        self.local = local
        self.continues = continues
    }

    /// The node at the other end as far as it has been named (not yet proved); nil: unknown.
    private(set) var claimed: NodeID?

    /// The connection stands (TCP; what is sent waits for TLS by itself).
    /// - Parameter nonce: 32 fresh random bytes.
    package mutating func begin(nonce: [UInt8]) -> [Step] {
        switch side {
        case .acceptor:
            state = .awaitingHello
            return []
        case .dialer(let expected, let channel):
            claimed = expected
            state = local.secret == nil ? .awaitingAccepted : .awaitingChallenge(nonce: nonce)
            let hello = Hello(
                cluster: local.cluster, node: local.me, incarnation: local.incarnation, channel: channel,
                features: PeerFeatures.own | (continues ? PeerFeatures.continues : 0),
                nonce: local.secret == nil ? [] : nonce)
            return [.send(.hello(hello))]
        }
    }

    /// - Parameters:
    ///   - certificateNames: the DNS names of the peer's certificate; nil without TLS.
    ///   - nonce: 32 fresh random bytes.
    package mutating func receive(_ message: Message, certificateNames: [String]?, nonce: [UInt8]) -> [Step] {
        switch (state, message) {
        case (_, .error(let code, let text)):
            state = .over
            return [.refused(code, "the peer says \(code): \(text)")]
        case (.awaitingHello, .hello(let hello)):
            return receive(hello, certificateNames: certificateNames, nonce: nonce)
        case (.awaitingChallenge(let own), .helloChallenge(let nonce, let proof)):
            return receiveChallenge(own: own, theirs: nonce, proof: proof)
        case (.awaitingProof(let identity, let transcript), .helloProof(let proof)):
            guard let secret = local.secret, secret.isValid(proof, of: .dialer, transcript) else {
                return fail(.notAuthenticated, "wrong proof of the shared secret")
            }
            state = .awaitingAdmission(identity)
            return [.requestAdmission(identity)]
        case (.awaitingAccepted, .helloAccepted(let accepted)):
            return receive(accepted, certificateNames: certificateNames)
        default:
            return fail(.unexpectedMessage, "\(message.type) during the Hello exchange")
        }
    }

    /// The links have room: the acceptor's last word.
    /// - Parameter continues: whether it goes on where another ends; only if the dialler asked for it.
    package mutating func admitted(continues: Bool = false) -> [Step] {
        guard case .awaitingAdmission(var identity) = state else { return [] }
        state = .over
        identity.continues = continues
        let accepted = HelloAccepted(
            version: identity.version, node: local.me, incarnation: local.incarnation,
            features: PeerFeatures.own | (continues ? PeerFeatures.continues : 0))
        return [.send(.helloAccepted(accepted)), .establish(identity)]
    }

    mutating func fail(_ code: ErrorCode, _ text: String) -> [Step] {
        state = .over
        return [.fail(code, text)]
    }

    private mutating func receive(_ hello: Hello, certificateNames: [String]?, nonce: [UInt8]) -> [Step] {
        let id = hello.node.id
        claimed = id
        guard let version = WireVersion.highestCommon(with: hello.versions) else {
            return fail(
                .noCommonVersion, "it speaks versions \(hello.versions), this node speaks \(WireVersion.supported)")
        }
        guard hello.cluster == local.cluster else {
            return fail(.clusterMismatch, "it belongs to cluster \(hello.cluster), not \(local.cluster)")
        }
        if let names = certificateNames, !names.contains(id.rawValue) {
            return fail(.identityMismatch, "it calls itself \(id), its certificate names \(names)")
        }
        guard id != local.me.id else {
            return fail(.duplicateNode, "it has this node's own id \(id)")
        }
        guard Self.dials(hello.node, local.me) else {
            return fail(.wrongDirection, "\(id) must not dial \(local.me.id): it is to be dialled")
        }
        let identity = PeerIdentity(
            node: hello.node, incarnation: hello.incarnation, channel: hello.channel, version: version,
            features: hello.features)
        guard let secret = local.secret else {
            state = .awaitingAdmission(identity)
            return [.requestAdmission(identity)]
        }
        guard hello.nonce.count == WireLimits.proofBytes else {
            return fail(.notAuthenticated, "its Hello has no nonce")
        }
        let transcript = SharedSecret.Transcript(
            cluster: local.cluster, dialer: id, acceptor: local.me.id, channel: hello.channel,
            dialerNonce: hello.nonce, acceptorNonce: nonce)
        state = .awaitingProof(identity, transcript)
        return [.send(.helloChallenge(nonce: nonce, proof: secret.proof(of: .acceptor, transcript)))]
    }

    private mutating func receiveChallenge(own: [UInt8], theirs: [UInt8], proof: [UInt8]) -> [Step] {
        guard case .dialer(let expected, let channel) = side, let secret = local.secret else {
            return fail(.unexpectedMessage, "a challenge that was not asked for")
        }
        let transcript = SharedSecret.Transcript(
            cluster: local.cluster, dialer: local.me.id, acceptor: expected, channel: channel, dialerNonce: own,
            acceptorNonce: theirs)
        guard secret.isValid(proof, of: .acceptor, transcript) else {
            return fail(.notAuthenticated, "wrong proof of the shared secret, or not \(expected)")
        }
        state = .awaitingAccepted
        return [.send(.helloProof(secret.proof(of: .dialer, transcript)))]
    }

    private mutating func receive(_ accepted: HelloAccepted, certificateNames: [String]?) -> [Step] {
        guard case .dialer(let expected, let channel) = side else {
            return fail(.unexpectedMessage, "an acceptance that was not asked for")
        }
        guard WireVersion.supported.contains(accepted.version) else {
            return fail(.noCommonVersion, "it chose version \(accepted.version)")
        }
        guard accepted.node.id == expected else {
            return fail(.identityMismatch, "\(accepted.node.id) answers instead of \(expected)")
        }
        if let names = certificateNames, !names.contains(expected.rawValue) {
            return fail(.identityMismatch, "it calls itself \(expected), its certificate names \(names)")
        }
        state = .over
        var identity = PeerIdentity(
            node: accepted.node, incarnation: accepted.incarnation, channel: channel, version: accepted.version,
            features: accepted.features)
        // Only what was asked for.
        identity.continues = identity.continues && continues
        return [.establish(identity)]
    }

    /// Whether `one` opens the connections to `other`: workers to controllers, and of two controllers the one whose id
    /// sorts lower. Exactly one of a pair does, so two nodes never connect to each other at cross purposes.
    package static func dials(_ one: NodeInfo, _ other: NodeInfo) -> Bool {
        guard other.role == .controller else { return false }
        return one.role == .worker || one.id < other.id
    }
}
