import Foundation
import Measuring
import NIOSSL
import OrchestryModel

/// Certificates for the two ends of `protocol`, made for one run with the `openssl` program: an authority and a P-256
/// certificate for each node.
struct TLSFiles {
    static let nodes = ["bench-a", "bench-b"]
    private let folder: URL

    /// - Throws: `SubprocessError` when there is no `openssl`, or one that can't do it.
    init() async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "orchestry-bench-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        do {
            try await makeKey("ca")
            try await openssl(
                ["req", "-x509", "-new", "-key", path("ca.key"), "-subj", "/CN=bench", "-days", "2", "-out", ca])
            for node in Self.nodes {
                try await makeKey(node)
                try Data("subjectAltName=DNS:\(node)\n".utf8).write(to: folder.appending(path: "\(node).ext"))
                try await openssl(
                    ["req", "-new", "-key", path("\(node).key"), "-subj", "/CN=\(node)", "-out", path("\(node).csr")])
                try await openssl([
                    "x509", "-req", "-in", path("\(node).csr"), "-CA", ca, "-CAkey", path("ca.key"), "-CAcreateserial",
                    "-days", "2", "-extfile", path("\(node).ext"), "-out", path("\(node).pem"),
                ])
            }
        } catch {
            remove()
            throw error
        }
    }

    /// What can't be removed is in the system's folder for such things, and of no use to anyone in two days.
    func remove() { try? FileManager.default.removeItem(at: folder) }

    var ca: String { path("ca.pem") }
    func certificate(_ node: NodeID) -> String { path("\(node).pem") }
    func key(_ node: NodeID) -> String { path("\(node).key") }
    /// The authority; the server's certificate and key, then the client's, as `bench/grpc-peer` takes them.
    var pathsForGRPC: [String] {
        [ca] + Self.nodes.reversed().flatMap { [path("\($0).pem"), path("\($0).key")] }
    }

    /// As `PeerTransport` has it: TLS 1.3, both sides prove who they are.
    func serverContext() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try chain(1), privateKey: try privateKey(1))
        try demandCertificates(&configuration)
        return try NIOSSLContext(configuration: configuration)
    }

    func clientContext() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateChain = try chain(0)
        configuration.privateKey = try privateKey(0)
        try demandCertificates(&configuration)
        return try NIOSSLContext(configuration: configuration)
    }

    private func demandCertificates(_ configuration: inout TLSConfiguration) throws {
        configuration.minimumTLSVersion = .tlsv13
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(ca))
        configuration.certificateVerification = .noHostnameVerification
    }

    private func chain(_ node: Int) throws -> [NIOSSLCertificateSource] {
        try NIOSSLCertificate.fromPEMFile(path("\(Self.nodes[node]).pem")).map { .certificate($0) }
    }
    private func privateKey(_ node: Int) throws -> NIOSSLPrivateKeySource {
        .privateKey(try NIOSSLPrivateKey(file: path("\(Self.nodes[node]).key"), format: .pem))
    }

    private func path(_ name: String) -> String { folder.appending(path: name).path(percentEncoded: false) }
    private func makeKey(_ name: String) async throws {
        try await openssl(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path("\(name).key")])
    }
    private func openssl(_ arguments: [String]) async throws { _ = try await Measuring.run(["openssl"] + arguments) }
}
