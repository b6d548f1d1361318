import Foundation
import NIOSSL
import SecretSealing

/// What this program shows servers, and whom it trusts.
struct Credentials {
    /// nil: none.
    var token: String?
    /// nil: the system's authorities.
    var authorities: String?

    init() {}

    /// - Throws: `CommandFailure.usage` when a file can't be read, or a token's file can by others.
    init(tokenFile: String?, authorities: String?, for servers: [String]) throws {
        let stored = try UserConfiguration.load()
        self.authorities = authorities ?? (stored.map { servers == [$0.server] } == true ? stored?.ca : nil)
        if let tokenFile {
            token = try Self.read(tokenFile)
        } else if let named = ProcessInfo.processInfo.environment["ORCHESTRY_TOKEN"], !named.isEmpty {
            token = named.trimmingCharacters(in: .whitespacesAndNewlines)
        } else if let stored, servers == [stored.server] {
            // Never to a server that it was not stored for.
            token = stored.token
        }
        guard token != nil else { return }
        let open = servers.filter { $0.hasPrefix("http://") && !Self.isLoopback($0) }
        if !open.isEmpty {
            Output.complain("The token goes to \(open.joined(separator: ", ")) in the clear: use https.")
        }
    }

    static func read(_ path: String) throws -> String {
        do throws(PrivateFile.Failure) {
            let text = String(decoding: try PrivateFile.read(path), as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            if !text.isEmpty, !text.contains(where: \.isWhitespace) { return text }
        } catch {
            throw CommandFailure.usage("--token-file: \(error)")
        }
        throw CommandFailure.usage("--token-file: \(path) must hold one token")
    }

    private static func isLoopback(_ server: String) -> Bool {
        guard let host = URLComponents(string: server)?.host else { return false }
        return host == "localhost" || host.hasPrefix("127.") || host == "[::1]" || host == "::1"
    }

    func tlsConfiguration() throws -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        guard let authorities else { return configuration }
        do {
            configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(authorities))
        } catch {
            throw CommandFailure.usage("--ca: \(authorities) is not a PEM file with certificates")
        }
        return configuration
    }
}
