import Foundation

/// An image registry on loopback with a folder of its own, for tests of pulling. Debian's `docker-registry`.
public final class PrivateRegistry: Sendable {
    public static let program = "/usr/bin/docker-registry"
    public static let isInstalled = FileManager.default.fileExists(atPath: program)
    /// With `protected`: who may pull and push.
    public static let user = "ann"
    public static let password = "open-sesame"

    /// `127.0.0.1:port`, which engines take without TLS.
    public let address: String
    private let folder: TemporaryFolder
    private let process: ChildProcess

    public init(protected: Bool = false) throws {
        folder = try TemporaryFolder("orchestry-registry")
        address = "127.0.0.1:\(freePort())"
        var configuration = """
            version: 0.1
            log: {level: warn}
            storage: {filesystem: {rootdirectory: \(folder.path)/data}, delete: {enabled: true}}
            http: {addr: "\(address)"}

            """
        if protected {
            // bcrypt of `password`.
            try "\(Self.user):$2b$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO\n".write(
                toFile: folder.path + "/users", atomically: true, encoding: .utf8)
            configuration += "auth: {htpasswd: {realm: test, path: \(folder.path)/users}}\n"
        }
        try configuration.write(toFile: folder.path + "/config.yml", atomically: true, encoding: .utf8)
        process = try ChildProcess(
            Self.program, ["serve", folder.path + "/config.yml"], output: folder.path + "/log")
    }

    public func stop() {
        process.signal(SIGTERM)
        process.wait()
    }
}
