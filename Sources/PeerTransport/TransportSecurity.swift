import NIOCore
import NIOSSL
import OrchestryModel
import Synchronization

/// Makes the TLS handlers, or none. Its certificates can be replaced while connections stand.
final class TransportSecurity: Sendable {
    private struct Contexts: Sendable {
        var server: NIOSSLContext
        var client: NIOSSLContext
        /// Counts the replacements: connections remember under which one they were made.
        var generation = 0
    }

    /// Without TLS; nil with it.
    let secret: SharedSecret?
    private let keyLog: TLSKeyLog?
    /// nil without TLS.
    private let contexts: Mutex<Contexts?>

    /// Reads the files: blocks.
    /// - Parameter keyLogPath: see `PeerTransportConfiguration.tlsKeyLogPath`.
    /// - Throws: `PeerError.cannotStart` with what is wrong with them.
    init(_ security: PeerTransportConfiguration.Security, keyLogPath: String? = nil) throws(PeerError) {
        if let keyLogPath { keyLog = try TLSKeyLog(path: keyLogPath) } else { keyLog = nil }
        switch security {
        case .plain(let text):
            guard let secret = SharedSecret(text) else {
                throw .cannotStart("the shared secret needs at least \(SharedSecret.minimumBytes) bytes")
            }
            self.secret = secret
            contexts = Mutex(nil)
        case .mutualTLS(let caPath, let certificatePath, let keyPath):
            secret = nil
            let material = try TLSMaterial(caPath: caPath, certificatePath: certificatePath, keyPath: keyPath)
            contexts = Mutex(try Self.contexts(of: material, keyLog))
        }
    }

    /// How often the certificates have been replaced.
    var generation: Int { contexts.withLock { $0?.generation ?? 0 } }

    /// New connections use this from now on, standing ones go on as they are; after an error nothing has changed.
    /// Parses and signs: to be called off the event loops.
    func use(_ material: TLSMaterial) throws(PeerError) {
        guard secret == nil else { return }
        let fresh = try Self.contexts(of: material, keyLog)
        contexts.withLock { current in
            let generation = current?.generation ?? 0
            current = fresh
            current?.generation = generation + 1
        }
    }

    private static func contexts(of material: TLSMaterial, _ keyLog: TLSKeyLog?) throws(PeerError) -> Contexts {
        do {
            let certificates = try NIOSSLCertificate.fromPEMBytes(material.certificate)
            let key = NIOSSLPrivateKeySource.privateKey(try NIOSSLPrivateKey(bytes: material.key, format: .pem))
            let roots = NIOSSLTrustRoots.certificates(try NIOSSLCertificate.fromPEMBytes(material.authorities))
            let chain = certificates.map(NIOSSLCertificateSource.certificate)
            var serverSide = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: key)
            var clientSide = TLSConfiguration.makeClientConfiguration()
            clientSide.certificateChain = chain
            clientSide.privateKey = key
            harden(&serverSide, roots)
            harden(&clientSide, roots)
            if let keyLog {
                serverSide.keyLogCallback = { keyLog.append($0) }
                clientSide.keyLogCallback = { keyLog.append($0) }
            }
            return Contexts(
                server: try NIOSSLContext(configuration: serverSide),
                client: try NIOSSLContext(configuration: clientSide))
        } catch {
            throw .cannotStart("the certificates can't be used: \(error)")
        }
    }

    /// Names are checked against the Hello, on both sides alike, so TLS checks the chain only.
    private static func harden(_ configuration: inout TLSConfiguration, _ roots: NIOSSLTrustRoots) {
        configuration.minimumTLSVersion = .tlsv13
        configuration.trustRoots = roots
        configuration.certificateVerification = .noHostnameVerification
        configuration.shutdownTimeout = .milliseconds(300)
    }

    /// Called on the channel's event loop while it is set up.
    /// - Returns: the generation of the certificates it uses.
    func addHandlers(to channel: any Channel, side: Handshake.Side) throws -> Int {
        guard let contexts = contexts.withLock({ $0 }) else { return 0 }
        switch side {
        case .acceptor:
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: contexts.server))
        case .dialer:
            try channel.pipeline.syncOperations.addHandler(
                NIOSSLClientHandler(context: contexts.client, serverHostname: nil))
        }
        return contexts.generation
    }

    /// The DNS names of the peer's certificate; nil without TLS. To be asked on the event loop, after the TLS handshake.
    func certificateNames(_ channel: any Channel) -> [String]? {
        guard secret == nil else { return nil }
        // No certificate means no names, which no node matches.
        guard let certificate = try? channel.pipeline.syncOperations.nioSSL_peerCertificate() else { return [] }
        return certificate._subjectAlternativeNames().compactMap { name in
            name.nameType == .dnsName ? String(decoding: name.contents, as: UTF8.self) : nil
        }
    }
}
