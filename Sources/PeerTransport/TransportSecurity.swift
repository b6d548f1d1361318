import NIOCore
import NIOSSL
import OrchestryModel

/// Makes the TLS handlers, or none.
struct TransportSecurity: Sendable {
    private let server: NIOSSLContext?
    private let client: NIOSSLContext?
    let secret: SharedSecret?

    /// Reads the files: blocks.
    /// - Throws: `PeerError.cannotStart` with what is wrong with them.
    init(_ security: PeerTransportConfiguration.Security) throws(PeerError) {
        switch security {
        case .plain(let text):
            guard let secret = SharedSecret(text) else {
                throw .cannotStart("the shared secret needs at least \(SharedSecret.minimumBytes) bytes")
            }
            self.secret = secret
            server = nil
            client = nil
        case .mutualTLS(let caPath, let certificatePath, let keyPath):
            secret = nil
            do {
                let chain = try NIOSSLCertificate.fromPEMFile(certificatePath).map(NIOSSLCertificateSource.certificate)
                let key = NIOSSLPrivateKeySource.privateKey(try NIOSSLPrivateKey(file: keyPath, format: .pem))
                let roots = NIOSSLTrustRoots.certificates(try NIOSSLCertificate.fromPEMFile(caPath))
                var serverSide = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: key)
                var clientSide = TLSConfiguration.makeClientConfiguration()
                clientSide.certificateChain = chain
                clientSide.privateKey = key
                Self.harden(&serverSide, roots)
                Self.harden(&clientSide, roots)
                server = try NIOSSLContext(configuration: serverSide)
                client = try NIOSSLContext(configuration: clientSide)
            } catch {
                throw .cannotStart("certificates: \(error) (\(caPath), \(certificatePath), \(keyPath))")
            }
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
    func addHandlers(to channel: any Channel, side: Handshake.Side) throws {
        switch side {
        case .acceptor:
            guard let server else { return }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: server))
        case .dialer:
            guard let client else { return }
            try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: client, serverHostname: nil))
        }
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
