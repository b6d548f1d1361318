extension AppSpec {
    /// Something mounted into an instance's container.
    public struct Volume: Hashable, Sendable, Codable {
        public enum Kind: String, Hashable, Sendable, Codable {
            /// Kept by the engine of each node under the app's name; an instance on another node sees another one.
            case volume
            /// A folder or file of the host, below what the node's `engine.bind_allow` names.
            case bind
            /// In memory, gone with the container.
            case tmpfs
        }
        public var kind: Kind
        /// `volume`: a name of 1…63 letters, digits, `.`, `_`, `-`. `bind`: an absolute path of the host. `tmpfs`: empty.
        public var source: String
        /// Absolute path in the container, without `.` or `..`.
        public var target: String
        public var readOnly: Bool
        /// `tmpfs` only, 4 KiB…64 GiB; counts against the memory limit. nil: half of that limit.
        public var sizeBytes: Int64?
        public init(kind: Kind, source: String = "", target: String, readOnly: Bool = false, sizeBytes: Int64? = nil) {
            self.kind = kind
            self.source = source
            self.target = target
            self.readOnly = readOnly
            self.sizeBytes = sizeBytes
        }
    }

    /// How much of a container's output the engine keeps: `maxFiles` files of `maxSizeBytes`. nil: the node's setting.
    public struct LogOptions: Hashable, Sendable, Codable {
        /// 64 KiB…1 GiB.
        public var maxSizeBytes: Int64?
        /// 1…100.
        public var maxFiles: Int?
        public init(maxSizeBytes: Int64? = nil, maxFiles: Int? = nil) {
            self.maxSizeBytes = maxSizeBytes
            self.maxFiles = maxFiles
        }
    }
}

extension AppSpec {
    public struct Network: Hashable, Sendable, Codable {
        /// The app's containers have a network of their own on each node: no other app's container reaches them but through
        /// the proxy, nor they others'. The node itself (proxy, probes) reaches them as ever.
        public var isolated: Bool
        public init(isolated: Bool) { self.isolated = isolated }
    }

    public var isIsolated: Bool { network?.isolated == true }
}

/// Whether `path` is `folder` or lies below it; both absolute and without `.` and `..`.
public func isPath(_ path: String, within folder: String) -> Bool {
    let (parts, top) = (path.split(separator: "/"), folder.split(separator: "/"))
    return folder.hasPrefix("/") && path.hasPrefix("/") && parts.starts(with: top)
}
