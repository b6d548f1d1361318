import DockerEngine
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

/// What registering a document makes of an app: the same for the write and for the look ahead.
extension LeaderTerm {
    /// `POST /apps/plan`. Each document is looked at as if those before it had been registered.
    /// - Throws: everything that is wrong with any of them, as `documents[2].spec.image`.
    func plan(_ documents: [JSONValue], _ request: ControlRequest) async throws -> ControlResponse {
        var planned = applications
        var plans: [SpecPlan] = []
        var violations: [Violation] = []
        for (index, document) in documents.enumerated() {
            do {
                let (spec, flat) = try AppSpec.parse(document)
                try checkRegistration(of: spec, among: planned, request)
                let current = planned[spec.name]
                let next = try await registration(of: spec, flat, over: current).application
                let rollout = reconciler.rolloutView(of: spec.name).flatMap { $0.isActive ? $0.record.revision : nil }
                plans.append(SpecPlan(to: next, from: current, rollout: rollout))
                planned[spec.name] = next
            } catch let error as ValidationError {
                violations += error.placed(at: "documents[\(index)]").violations
            }
        }
        guard violations.isEmpty else { throw Problem.invalid(ValidationError(violations)) }
        return ControlResponse(body: Presentation.plan(plans))
    }

    /// What no parser can see: other apps, this host's rules, time zones.
    /// - Throws: `ValidationError`, or `Problem` for what the caller may not name.
    func checkRegistration(
        of spec: AppSpec, among applications: [AppName: Application], _ request: ControlRequest
    ) throws {
        try refuseTakenHosts(of: spec, among: applications)
        try refuseForbiddenMounts(of: spec)
        try refuseForeignSecrets(of: spec, request)
        try refuseUnknownZones(of: spec.scaling, at: "scaling")
    }

    /// The app as it is once the document is registered. Replicas stay what they are: they are the autoscaler's.
    func registration(
        of spec: AppSpec, _ flat: JSONValue, over current: Application?
    ) async throws -> (application: Application, isNewRevision: Bool) {
        let wall = surroundings.clock.wall()
        guard let current else {
            let earlier = try await surroundings.store.lastRevision(of: spec.name)
            let application = Application(
                spec: spec, document: flat, revision: earlier + 1, status: .stopped, replicas: 0, createdAt: wall,
                updatedAt: wall, secrets: currentSecrets(of: spec, keeping: []))
            return (application, true)
        }
        var application = current
        let isNewRevision = AppSpec.needsNewRevision(from: current.spec, to: spec)
        if isNewRevision {
            application.revision += 1
            application.equalRevisions = []
        }
        application.spec = spec
        application.secrets = currentSecrets(of: spec, keeping: isNewRevision ? [] : current.secrets)
        application.document = flat
        application.updatedAt = wall
        return (application, isNewRevision)
    }

    /// By this node's configuration, so that a user hears of it at once. The agent that makes the container has the last
    /// word, by its own.
    private func refuseForbiddenMounts(of spec: AppSpec) throws {
        let violations = spec.volumes.enumerated().compactMap { index, volume -> Violation? in
            guard volume.kind == .bind, let objection = surroundings.hostPolicy.objection(toBind: volume.source) else {
                return nil
            }
            return Violation("spec.volumes[\(index)].source", "must be allowed: \(objection)")
        }
        if !violations.isEmpty { throw ValidationError(violations) }
    }

    /// Two apps can't answer for the same host and path: the second would break or shadow the first.
    func refuseTakenHosts(of spec: AppSpec, among applications: [AppName: Application]) throws {
        guard spec.kind == .http else { return }
        for other in applications.values where other.name != spec.name && other.spec.kind == .http {
            let shared = Set(other.spec.routing.hosts).intersection(spec.routing.hosts)
            if let host = shared.sorted().first, other.spec.routing.pathPrefix == spec.routing.pathPrefix {
                throw ValidationError([
                    Violation(
                        "spec.routing.hosts",
                        "'\(host)' with path \(spec.routing.pathPrefix) already belongs to app \(other.name)")
                ])
            }
            if let port = spec.routing.listenPort, other.spec.routing.listenPort == port {
                throw ValidationError([
                    Violation("spec.routing.listenPort", "\(port) already belongs to app \(other.name)")
                ])
            }
        }
    }
}
