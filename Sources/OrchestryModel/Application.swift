/// An app as the leader keeps it and PostgreSQL stores it: the desired state.
public struct Application: Hashable, Sendable, Codable {
    public enum Status: String, Hashable, Sendable, Codable { case stopped, running }
    public var spec: AppSpec
    /// The submitted document in the original's flat form (`type`, `image`, `ports`, `health`, `labels`, `scaling`,
    /// `resources`), exactly what `GET /apps` and `GET /apps/{name}/raw` show.
    public var document: JSONValue
    /// 1, 2, 3…: rises with each accepted change of what a container is made from.
    public var revision: Int
    public var status: Status
    /// Wanted instances; 0 when stopped, and while an app that scales to zero is idle.
    public var replicas: Int
    public var createdAt: WallTime
    public var updatedAt: WallTime
    public var lastScaledAt: WallTime?
    /// The secrets its spec names, in the versions that were current when this revision was made. Sorted by name. One that
    /// is missing holds the app back: see `reasonToHold`.
    public var secrets: [SealedSecret]
    /// nil: no review is needed. One of another revision counts for nothing.
    public var imageReview: ImageReview?
    /// Earlier revisions whose containers are made from the same: their instances need not be replaced. Filled by a
    /// rollback, emptied by the next new revision.
    public var equalRevisions: Set<Int>
    /// What people told the autoscaler; nil: nothing. May hold what has expired.
    public var control: ScalingControl?
    public init(
        spec: AppSpec, document: JSONValue, revision: Int, status: Status, replicas: Int, createdAt: WallTime,
        updatedAt: WallTime, lastScaledAt: WallTime? = nil, secrets: [SealedSecret] = [],
        imageReview: ImageReview? = nil, equalRevisions: Set<Int> = [], control: ScalingControl? = nil
    ) {
        self.spec = spec
        self.document = document
        self.revision = revision
        self.status = status
        self.replicas = replicas
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.lastScaledAt = lastScaledAt
        self.secrets = secrets
        self.imageReview = imageReview
        self.equalRevisions = equalRevisions
        self.control = control
    }
    public var name: AppName { spec.name }
    /// Nobody has asked for it lately, so it has no instance: the first request starts one.
    public var isIdle: Bool { status == .running && replicas == 0 }
    /// Whether an instance of that revision is as wanted.
    public func isCurrent(_ revision: Int) -> Bool { revision == self.revision || equalRevisions.contains(revision) }

    /// Why no new instance may be made now, as a predicate without a full stop; nil: nothing stands against it.
    public var reasonToHold: String? {
        let missing = spec.secretNames.filter { name in !secrets.contains { $0.name == name } }
        guard !missing.isEmpty else { return imageObjection }
        let names = missing.map { "'\($0)'" }.joined(separator: ", ")
        return "secret\(missing.count == 1 ? "" : "s") \(names) \(missing.count == 1 ? "is" : "are") not set: "
            + missing.map { "orchestry secret set \($0)" }.joined(separator: "; ")
    }

    private var imageObjection: String? {
        guard let imageReview, imageReview.revision == revision else { return nil }
        return switch imageReview.verdict {
        case .accepted: nil
        case .pending: "its image is being looked up"
        case .refused: "revision \(revision) was refused: \(imageReview.reason)"
        }
    }
}

/// A node as it introduces itself.
public struct NodeInfo: Hashable, Sendable, Codable {
    public enum Role: UInt8, Hashable, Sendable, Codable { case controller = 0, worker = 1 }
    public var id: NodeID
    public var role: Role
    /// Where peers reach its cluster port.
    public var host: String
    public var clusterPort: Int
    /// The base URL of its REST facade.
    public var apiURL: String
    public init(id: NodeID, role: Role, host: String, clusterPort: Int, apiURL: String) {
        self.id = id
        self.role = role
        self.host = host
        self.clusterPort = clusterPort
        self.apiURL = apiURL
    }
}
