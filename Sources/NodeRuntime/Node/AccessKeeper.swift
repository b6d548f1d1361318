import AccessControl
import Authentication
import Foundation
import Logging
import NIOPosix
import NodeConfiguration
import OrchestryModel
import RestFacade
import SecretSealing
import Synchronization

/// Keeps what a node knows callers by up to date: the tokens in force, the keys of JSON Web Tokens, the facade's own
/// certificate.
///
/// Every node has a copy of the tokens (their hashes) in memory and in a file of its own, and reads them anew every two
/// seconds: from PostgreSQL, or from the leader where it can't. So credentials are checked without a leader and with
/// PostgreSQL gone, also after a restart. A token that is not known is looked for at once before it is refused, so one that
/// was just made is known everywhere. A revoked token is refused by the leader at once, since it revoked it, and with
/// that for everything but what a node answers by itself (the cluster's status, its metrics page); for that within two
/// seconds of the change, on every node that reaches PostgreSQL or the leader. On one that reaches neither, until it does:
/// it can't tell anything but its own view then.
final class AccessKeeper: Sendable {
    /// How old the copy gets where PostgreSQL or the leader answers.
    static let interval = Duration.seconds(2)

    private struct Memory {
        var tokens: [APIToken]?
        var keyStamps: [FileStamp?]?
        /// Seen once; acted on when it is seen again: certificate and key are copied one after the other.
        var pendingCertificate: [FileStamp?]?
        var certificateStamps: [FileStamp?]?
        var bootstrapStamp: [FileStamp?]?
        var usesStoredAt: Instant?
        var readAt: Instant?
        var isStale = false
    }

    let gatekeeper: Gatekeeper
    private let settings: AccessSettings
    private let node: NodeID
    private let file: String
    private let logger: Logger
    private let clock: NodeClock
    /// nil: neither PostgreSQL nor a leader answers.
    private let fetch: @Sendable () async -> [APIToken]?
    private let store: @Sendable ([String: WallTime]) async -> Bool
    private let record: @Sendable (EventKind, AppName?, String, JSONValue) -> Void
    private let refusals = Mutex(RefusalLog())
    private let tls = Mutex<FacadeTLS?>(nil)
    private let triggers: AsyncStream<Bool>
    private let trigger: AsyncStream<Bool>.Continuation
    private let start = Mutex(Memory())
    /// The tokens were read, or could not be.
    private let reads = ChangeSignal()
    /// So often at most: whoever sends tokens that don't exist must not keep PostgreSQL busy.
    private static let shortest = Duration.milliseconds(200)

    /// - Parameters:
    ///   - folder: where the copy of the tokens is kept.
    ///   - store: keeps when tokens were last used; false: not now.
    init(
        settings: AccessSettings, node: NodeID, isWorker: Bool, folder: String, clock: NodeClock, logger: Logger,
        fetch: @escaping @Sendable () async -> [APIToken]?,
        store: @escaping @Sendable ([String: WallTime]) async -> Bool,
        record: @escaping @Sendable (EventKind, AppName?, String, JSONValue) -> Void
    ) {
        self.settings = settings
        self.node = node
        self.file = folder + "/tokens.json"
        self.logger = logger
        self.clock = clock
        self.fetch = fetch
        self.store = store
        self.record = record
        (triggers, trigger) = AsyncStream.makeStream(of: Bool.self, bufferingPolicy: .bufferingNewest(2))
        let (trigger, reads) = (trigger, reads)
        gatekeeper = Gatekeeper(
            .init(
                node: node, passesCredentials: isWorker, now: { clock.now() }, wall: { clock.wall() },
                lockedOut: { address, time, reason in
                    record(
                        .callerLockedOut, nil,
                        "\(address) is locked out for \(Int(time.inSeconds)) s after failed authentication (last: \(reason))",
                        ["address": .string(address), "seconds": JSONValue(Int(time.inSeconds))])
                },
                refresh: {
                    let seen = reads.count
                    trigger.yield(false)
                    await reads.wait(after: seen, atMost: .seconds(1))
                }))
    }

    /// What the facade asks.
    var identification: any CallerIdentification {
        settings.isRequired ? gatekeeper : Everybody(node: node)
    }

    /// Whether clients must say who they are.
    var isRequired: Bool { settings.isRequired }

    /// Who asks through a worker, by what they showed: who holds a worker's certificate must not be able to speak for
    /// everybody. Where this node asks for no credentials, the worker's word is as good as anybody's.
    /// - Returns: the request as this node would have taken it, or why it is refused.
    func vouch(for request: ControlRequest, from worker: NodeID) async -> Result<ControlRequest, Problem> {
        // Between nodes: what every node must know, and no client's question.
        if request.caller == nil, [.tokensInForce, .listSettings].contains(request.operation) {
            return .success(request)
        }
        guard settings.isRequired else { return .success(request) }
        // Failures count against the worker, which has refused what it could: its word for an address is no better.
        switch await gatekeeper.identify(authorization: request.caller?.credential, address: "\(worker)") {
        case .unknown(let problem): return .failure(problem)
        case .known(var caller):
            // Not all that follows asks the leader, which looks, too.
            if let problem = caller.objection(to: request.operation) { return .failure(problem) }
            caller.address = request.caller?.address
            caller.node = worker
            caller.credential = nil
            return .success(
                ControlRequest(operation: request.operation, idempotencyKey: request.idempotencyKey, caller: caller))
        }
    }

    /// SIGHUP: look at the files at once.
    func hangUp() { trigger.yield(true) }
    func stop() { trigger.finish() }

    // MARK: The loop

    /// Before the facade listens.
    /// - Returns: the facade's certificate; nil: plain HTTP.
    /// - Throws: `ConfigurationError` when the certificate can't be used: nothing else could be served instead.
    func lookFirst() async throws -> FacadeTLS? {
        var memory = Memory()
        if let files = settings.certificate {
            memory.certificateStamps = await stamps([files.certificate, files.key])
            do {
                let (certificate, key) = try await read(files)
                let made = try FacadeTLS(certificatePEM: certificate, keyPEM: key)
                tls.withLock { $0 = made }
            } catch {
                throw ConfigurationError(problems: [
                    "api.tls_certificate, api.tls_key: \(files.certificate) and \(files.key) can't be used: \(error)"
                ])
            }
        }
        if settings.isRequired {
            if let kept = await readCopy() {
                memory.tokens = kept
                gatekeeper.use(tokens: kept)
            }
            await lookAtKeys(&memory)
            await lookAtBootstrap(&memory)
            if settings.certificate == nil, settings.webTokens != nil || memory.tokens?.isEmpty == false {
                logger.info("Credentials reach this API in plain HTTP: see api.tls_certificate, or keep it on loopback")
            }
        }
        let first = memory
        start.withLock { $0 = first }
        return tls.withLock { $0 }
    }

    /// Until cancelled or stopped.
    func run() async {
        var memory = start.withLock { $0 }
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    self.trigger.yield(false)
                    do { try await Task.sleep(for: Self.interval) } catch { return }
                }
            }
            for await isHangUp in triggers {
                if Task.isCancelled { break }
                await round(&memory, isHangUp: isHangUp)
            }
            group.cancelAll()
        }
    }

    private func round(_ memory: inout Memory, isHangUp: Bool) async {
        sayRefusals(all: false)
        await lookAtCertificate(&memory, isHangUp: isHangUp)
        guard settings.isRequired else { return }
        await lookAtKeys(&memory)
        await lookAtBootstrap(&memory)
        if let last = memory.readAt {
            let left = Self.shortest - (clock.now() - last)
            if left > .zero { try? await Task.sleep(for: left) }  // Cancelled: the loop ends.
        }
        memory.readAt = clock.now()
        await refreshTokens(&memory)
        reads.notify()
        // By the minute: a busy token is one small write a minute and node.
        guard clock.now() - (memory.usesStoredAt ?? .zero) >= .seconds(60) else { return }
        memory.usesStoredAt = clock.now()
        let uses = gatekeeper.takeUses()
        if !uses.isEmpty, await !store(uses) { gatekeeper.putBack(uses) }
    }

    // MARK: Refusals

    /// A write was refused: an event, which becomes an entry of the audit trail on its way through the leader.
    func note(_ refusal: AuditRecord) {
        let now = clock.now()
        for record in refusals.withLock({ $0.refused(refusal, at: now) }) { say(record) }
    }

    /// - Parameter all: those of which more may come, too: the node stops.
    func sayRefusals(all: Bool) {
        let now = clock.now()
        for record in refusals.withLock({ $0.takeDue(at: now, all: all) }) { say(record) }
    }

    private func say(_ refusal: AuditRecord) {
        record(
            .requestRefused, refusal.app,
            "\(refusal.operation) by \(refusal.actor) was refused (\(refusal.status))"
                + (refusal.repeats > 0 ? ", and \(refusal.repeats) times more" : "")
                + (refusal.reason.map { ": \($0.prefix(300))" } ?? ""),
            ["actor": .string(refusal.actor), "audit": refusal.json])
    }

    // MARK: Tokens

    private func refreshTokens(_ memory: inout Memory) async {
        guard let tokens = await fetch() else {
            if !memory.isStale {
                logger.warning("Neither PostgreSQL nor a leader answers: callers are known by the tokens of before")
            }
            memory.isStale = true
            return
        }
        memory.isStale = false
        func essence(_ tokens: [APIToken]?) -> [APIToken]? {
            tokens?.map { token in
                var token = token
                token.lastUsedAt = nil
                return token
            }
        }
        guard essence(tokens) != essence(memory.tokens) else { return }
        memory.tokens = tokens
        gatekeeper.use(tokens: tokens)
        logger.info("Tokens read", metadata: ["tokens": "\(tokens.count)"])
        await keepCopy(tokens)
    }

    private func keepCopy(_ tokens: [APIToken]) async {
        do {
            let text = String(decoding: try JSONEncoder().encode(tokens), as: UTF8.self)
            let file = file
            try await NIOThreadPool.singleton.runIfActive { try PrivateFile.replace(file, text) }
        } catch {
            logger.warning(
                "The copy of the tokens can't be kept; after a restart without PostgreSQL they are not known",
                metadata: ["error": "\(error)"])
        }
    }

    private func readCopy() async -> [APIToken]? {
        let file = file
        do {
            return try await NIOThreadPool.singleton.runIfActive {
                guard FileManager.default.fileExists(atPath: file) else { return nil }
                return try JSONDecoder().decode([APIToken].self, from: Data(try PrivateFile.read(file)))
            }
        } catch {
            logger.warning("The copy of the tokens is not used", metadata: ["error": "\(error)"])
            return nil
        }
    }

    // MARK: Files

    private func lookAtBootstrap(_ memory: inout Memory) async {
        guard let path = settings.bootstrapTokenFile else { return }
        let stamp = await stamps([path])
        guard stamp != memory.bootstrapStamp else { return }
        memory.bootstrapStamp = stamp
        do {
            let text = try await content(path, isPrivate: true).trimmed
            guard TokenText.isWellFormed(text) else {
                throw PrivateFile.Failure(
                    description: "\(path) holds no token: make one with `orchestry token generate`")
            }
            gatekeeper.use(bootstrapHash: TokenText.hash(text))
            logger.notice("A bootstrap token is in force: remove auth.bootstrap_token_file once there are other admins")
        } catch {
            gatekeeper.use(bootstrapHash: nil)
            logger.error("There is no bootstrap token", metadata: ["reason": "\(error)"])
        }
    }

    private func lookAtKeys(_ memory: inout Memory) async {
        guard let webTokens = settings.webTokens else { return }
        let stamp = await stamps([webTokens.secretFile, webTokens.keySetFile].compactMap { $0 })
        guard stamp != memory.keyStamps else { return }
        memory.keyStamps = stamp
        do {
            var secret: [UInt8]?
            if let path = webTokens.secretFile { secret = Array(try await content(path, isPrivate: true).trimmed.utf8) }
            var keySet: String?
            if let path = webTokens.keySetFile { keySet = try await content(path, isPrivate: false) }
            let verifier = try await WebTokenVerifier(
                secret: secret, keySet: keySet,
                rules: WebTokenRules(
                    issuer: webTokens.issuer, audience: webTokens.audience, leewaySeconds: webTokens.leewaySeconds,
                    roleClaim: webTokens.roleClaim, appsClaim: webTokens.appsClaim))
            gatekeeper.use(verifier: verifier)
            logger.notice(
                "Keys of JSON Web Tokens read", metadata: ["keys": "\(verifier.keyNames.joined(separator: ", "))"])
        } catch {
            logger.error(
                "Keys of JSON Web Tokens can't be used; those of before stay",
                metadata: ["reason": "\(error)", "do": "mend the file: it is read again when it changes"])
        }
    }

    private func lookAtCertificate(_ memory: inout Memory, isHangUp: Bool) async {
        guard let files = settings.certificate, let tls = tls.withLock({ $0 }) else { return }
        let stamp = await stamps([files.certificate, files.key])
        guard stamp != memory.certificateStamps else {
            memory.pendingCertificate = nil
            return
        }
        guard isHangUp || stamp == memory.pendingCertificate else {
            memory.pendingCertificate = stamp
            return
        }
        memory.certificateStamps = stamp
        memory.pendingCertificate = nil
        do {
            let (certificate, key) = try await read(files)
            try tls.use(certificatePEM: certificate, keyPEM: key)
            logger.notice("The API's new certificate is taken up", metadata: ["file": "\(files.certificate)"])
        } catch {
            logger.error(
                "The API's new certificate is refused; the one of before stays in use",
                metadata: ["reason": "\(error)", "files": "\(files.certificate) \(files.key)"])
        }
    }

    private func read(_ files: AccessSettings.Certificate) async throws -> (certificate: [UInt8], key: [UInt8]) {
        (
            Array(try await content(files.certificate, isPrivate: false).utf8),
            Array(try await content(files.key, isPrivate: false).utf8)
        )
    }

    private func content(_ path: String, isPrivate: Bool) async throws -> String {
        try await NIOThreadPool.singleton.runIfActive {
            isPrivate
                ? String(decoding: try PrivateFile.read(path), as: UTF8.self)
                : try String(contentsOfFile: path, encoding: .utf8)
        }
    }

    private func stamps(_ paths: [String]) async -> [FileStamp?] {
        // The singleton pool is never shut down, and the closure throws nothing.
        (try? await NIOThreadPool.singleton.runIfActive { paths.map(FileStamp.init) }) ?? []
    }
}

extension String {
    /// Without white space around it.
    fileprivate var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
