import Foundation
import OrchestryModel

/// What of this host a spec may use: folders to mount, seccomp profiles.
package struct HostPolicy: Sendable {
    /// Absolute paths; a bind mount must lie at or below one of them. Empty: none is allowed.
    package var bindAllow: [String]
    /// Where `seccompProfile` finds `NAME.json`; nil: only the engine's own profile.
    package var seccompFolder: String?
    package init(bindAllow: [String] = [], seccompFolder: String? = nil) {
        self.bindAllow = bindAllow
        self.seccompFolder = seccompFolder
    }

    /// Why a bind mount is not allowed; nil: it is, as far as the text of the path goes.
    package func objection(toBind source: String) -> String? {
        if bindAllow.isEmpty { return "bind mounts are not allowed here: engine.bind_allow is empty" }
        guard bindAllow.contains(where: { isPath(source, within: $0) }) else {
            return "\(source) is not below one of engine.bind_allow (\(bindAllow.joined(separator: ", ")))"
        }
        return nil
    }

    /// The path itself, without symbolic links, which must not lead out of what is allowed.
    /// - Returns: what to mount, or why not.
    func resolveBind(_ source: String) -> Result<String, Objection> {
        if let objection = objection(toBind: source) { return .failure(Objection(text: objection)) }
        guard let real = Self.realPath(source) else {
            return .failure(Objection(text: "\(source) does not exist on this host"))
        }
        guard bindAllow.compactMap(Self.realPath).contains(where: { isPath(real, within: $0) }) else {
            return .failure(Objection(text: "\(source) leads to \(real), outside of engine.bind_allow"))
        }
        return .success(real)
    }

    /// - Parameter asPath: Podman reads the file itself, Docker is sent what is in it.
    /// - Returns: the profile's text or path.
    func seccompProfile(_ name: String, asPath: Bool) -> Result<String, Objection> {
        guard let seccompFolder else {
            return .failure(Objection(text: "seccomp profile '\(name)' can't be found: engine.seccomp_dir is not set"))
        }
        let path = "\(seccompFolder)/\(name).json"
        guard let data = FileManager.default.contents(atPath: path), data.count <= 1 << 20 else {
            return .failure(Objection(text: "seccomp profile \(path) can't be read"))
        }
        return .success(asPath ? path : String(decoding: data, as: UTF8.self))
    }

    struct Objection: Error {
        var text: String
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
