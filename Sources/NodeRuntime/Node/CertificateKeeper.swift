import Certificates
import Foundation
import Logging
import NIOPosix
import OrchestryModel
import PeerTransport
import Synchronization

/// Looks at the node's certificate files, takes up new ones without a restart, and says in time when they end.
///
/// The three files are copied one after the other by somebody else, so changes are looked at when they have stood still
/// for one interval, and what does not fit together is refused as a whole: the earlier certificates stay in use until
/// the files change again. SIGHUP skips the waiting.
final class CertificateKeeper: Sendable {
    struct Files: Sendable {
        var authorities: String
        var certificate: String
        var key: String
        var all: [String] { [authorities, certificate, key] }
    }
    /// nil: not there.
    private typealias Signature = [FileStamp?]
    private enum Trigger: Sendable { case interval, hangUp }
    struct Status: Sendable {
        var certificate: NodeCertificate?
        var replaced: UInt64 = 0
        var refused: UInt64 = 0
    }

    private let files: Files
    private let node: NodeID
    private let interval: Duration
    private let logger: Logger
    private let now: @Sendable () -> Date
    private let use: @Sendable (TLSMaterial) async throws -> Void
    private let record: @Sendable (EventKind, String, JSONValue) -> Void
    private let triggers: AsyncStream<Trigger>
    private let trigger: AsyncStream<Trigger>.Continuation
    private let shared = Mutex(Status())
    private let start = Mutex(Memory())

    init(
        files: Files, node: NodeID, interval: Duration, logger: Logger, now: @escaping @Sendable () -> Date,
        use: @escaping @Sendable (TLSMaterial) async throws -> Void,
        record: @escaping @Sendable (EventKind, String, JSONValue) -> Void
    ) {
        self.files = files
        self.node = node
        self.interval = interval
        self.logger = logger
        self.now = now
        self.use = use
        self.record = record
        // More than one of each kind waiting would say the same twice.
        (triggers, trigger) = AsyncStream.makeStream(of: Trigger.self, bufferingPolicy: .bufferingNewest(2))
    }

    var status: Status { shared.withLock { $0 } }

    /// Look at once, even at what was refused before.
    func hangUp() { trigger.yield(.hangUp) }

    // MARK: The loop

    /// What only the loop touches, and `lookFirst` before it begins.
    private struct Memory {
        var inUse: TLSMaterial?
        /// Taken up or refused: nothing to do until it changes.
        var settled: Signature?
        /// Seen once; acted on when it is seen again.
        var pending: Signature?
        var certificateEnd = ExpiryWatch()
        var authorityEnd = ExpiryWatch()
    }

    /// Before the transport starts with the same files. Problems are said, and the node goes on: its connections would
    /// only fail, while its containers and its proxy need none.
    func lookFirst() async {
        var memory = Memory()
        // Before they are read: what changes meanwhile is seen as a change.
        memory.settled = await stamps()
        do {
            let material = try await read()
            memory.inUse = material
            let certificate = try await check(material)
            shared.withLock { $0.certificate = certificate }
        } catch {
            logger.error(
                "This node's certificates are not in order; peers will not accept it",
                metadata: ["reason": "\(error)", "do": "\(advice)"])
        }
        lookAtEnd(&memory)
        let first = memory
        start.withLock { $0 = first }
    }

    /// Until cancelled.
    func run() async {
        var memory = start.withLock { $0 }
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    do { try await Task.sleep(for: self.interval) } catch { return }
                    self.trigger.yield(.interval)
                }
            }
            for await trigger in triggers {
                if Task.isCancelled { break }
                await handle(trigger, &memory)
                lookAtEnd(&memory)
            }
            group.cancelAll()
        }
    }

    private func handle(_ trigger: Trigger, _ memory: inout Memory) async {
        let signature = await stamps()
        switch trigger {
        case .interval:
            guard signature != memory.settled else {
                memory.pending = nil
                return
            }
            guard signature == memory.pending else {
                memory.pending = signature
                return
            }
        case .hangUp: logger.notice("SIGHUP: looking at the certificate files")
        }
        memory.settled = signature
        memory.pending = nil
        do {
            let material = try await read()
            guard material != memory.inUse else {
                if case .hangUp = trigger { logger.notice("The certificate files are the ones in use") }
                return
            }
            let certificate = try await check(material)
            try await use(material)
            memory.inUse = material
            memory.certificateEnd = ExpiryWatch()
            memory.authorityEnd = ExpiryWatch()
            took(certificate)
        } catch {
            shared.withLock { $0.refused += 1 }
            logger.error(
                "New certificate files are refused; the earlier certificates stay in use",
                metadata: [
                    "reason": "\(error)", "files": "\(files.all.joined(separator: " "))", "do": "\(advice)",
                ])
            record(
                .certificateRefused, "\(node) refused new certificate files: \(error)",
                ["reason": .string("\(error)"), "files": .array(files.all.map { .string($0) })])
        }
    }

    private func took(_ certificate: NodeCertificate) {
        shared.withLock {
            $0.certificate = certificate
            $0.replaced += 1
        }
        logger.notice(
            "Certificates taken up; connections are being renewed",
            metadata: [
                "serial": "\(certificate.serial)", "ends": "\(certificate.notAfter.ISO8601Format())",
                "authorities": "\(certificate.authorities.count)",
            ])
        record(
            .certificateReplaced,
            "\(node) took up the certificate \(certificate.serial), trusting \(certificate.authorities.count) "
                + "\(certificate.authorities.count == 1 ? "authority" : "authorities")",
            [
                "serial": .string(certificate.serial), "ends": .string(certificate.notAfter.ISO8601Format()),
                "authorities": .array(certificate.authorities.map { .string($0) }),
            ])
    }

    private func lookAtEnd(_ memory: inout Memory) {
        guard let certificate = status.certificate else { return }
        let now = now()
        if let finding = memory.certificateEnd.look(end: certificate.notAfter, now: now) {
            say(
                finding, "This node's certificate", certificate.notAfter,
                "run `orchestry certs rotate \(node)`, copy the files")
        }
        if let finding = memory.authorityEnd.look(end: certificate.authoritiesEnd, now: now) {
            say(finding, "A certificate authority", certificate.authoritiesEnd, "run `orchestry certs rotate --ca`")
        }
    }

    private func say(_ finding: ExpiryWatch.Finding, _ what: String, _ end: Date, _ remedy: String) {
        logger.log(
            level: finding.urgency == .verySoon ? .error : .warning, "\(what) ends soon",
            metadata: ["days": "\(finding.days)", "ends": "\(end.ISO8601Format())", "do": "\(remedy)"])
        guard finding.isNew else { return }
        record(
            .certificateExpiring, "\(what) (seen by \(node)) ends in \(finding.days) days: \(remedy)",
            ["ends": .string(end.ISO8601Format()), "days": .int(Int64(finding.days))])
    }

    private var advice: String {
        "make \(node)'s files anew (`orchestry certs rotate \(node)`), copy ca.pem, certificate and key together"
    }

    // MARK: Files, away from the cooperative pool

    private func read() async throws -> TLSMaterial {
        let files = files
        return try await NIOThreadPool.singleton.runIfActive {
            try TLSMaterial(
                caPath: files.authorities, certificatePath: files.certificate, keyPath: files.key)
        }
    }

    private func check(_ material: TLSMaterial) async throws -> NodeCertificate {
        try await NodeCertificate.check(
            authoritiesPEM: String(decoding: material.authorities, as: UTF8.self),
            certificatePEM: String(decoding: material.certificate, as: UTF8.self),
            keyPEM: String(decoding: material.key, as: UTF8.self), node: node.rawValue, now: now())
    }

    private func stamps() async -> Signature {
        let paths = files.all
        // The singleton pool is never shut down, and the closure throws nothing.
        return (try? await NIOThreadPool.singleton.runIfActive { paths.map(FileStamp.init) }) ?? []
    }
}
