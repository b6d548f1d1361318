import Logging
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling
import SecretSealing

/// Secrets: opened here only to seal them anew under their version, and to see whether a value changed at all.
extension LeaderTerm {
    /// The sealed secrets a spec names.
    /// - Parameter pinned: what the revision used before; newer versions are taken only for what is not in it.
    func currentSecrets(of spec: AppSpec, keeping pinned: [SealedSecret]) -> [SealedSecret] {
        spec.allSecretNames.compactMap { name in
            let kept = spec.environmentSecrets.contains(name) ? pinned.first { $0.name == name } : nil
            return kept ?? secrets[name]?.sealed
        }
    }

    func users(of name: SecretName) -> [Application] {
        applications.values.filter { $0.spec.allSecretNames.contains(name) }.sorted { $0.name < $1.name }
    }

    /// A new version; apps that run with the old one get new instances, one revision up with the same spec.
    func planSecret(_ received: SealedSecret, _ request: ControlRequest) async throws -> Plan {
        let name = received.name
        guard let keys = surroundings.secretKeys else { throw Problem.secretsUnusable(.notConfigured) }
        let value: String
        do {
            value = try keys.open(received)
        } catch {
            throw Problem.secretsUnusable(error)
        }
        let wall = surroundings.clock.wall()
        // One that does not open here is replaced by what was sent.
        if let current = secrets[name], let old = try? keys.open(current.sealed), old == value {
            // The same value again changes nothing, but it may move to a new key.
            var summary = current
            var changes: [StateChange] = []
            if current.sealed.keyID != keys.sealingKeyID {
                summary.sealed = keys.seal(value, name: name, version: current.sealed.version)
                changes = [
                    .saveSecret(summary.sealed, by: request.actor, at: wall),
                    event(.secretSet, nil, "Secret \(name) was sealed under another key", request),
                ]
            }
            return Plan(
                response: ControlResponse(body: Presentation.secretSet(summary, changed: false, restarted: [])),
                changes: changes, secrets: [name: summary])
        }
        let version = try await surroundings.store.lastSecretVersion(name) + 1
        let summary = SecretSummary(
            sealed: keys.seal(value, name: name, version: version), createdAt: secrets[name]?.createdAt ?? wall,
            updatedAt: wall, updatedBy: request.actor)
        var plan = Plan(
            response: ControlResponse(body: .null),
            changes: [
                .saveSecret(summary.sealed, by: request.actor, at: wall),
                event(.secretSet, nil, "Secret \(name) was set (version \(version))", request),
            ], secrets: [name: summary])
        var restarted: [AppName] = []
        for user in users(of: name) {
            let changed = use(summary.sealed, in: user, at: wall)
            plan.others.append(changed)
            plan.changes.append(.saveApplication(changed))
            if changed.revision == user.revision {
                plan.changes.append(.pinSecrets(user.name, revision: user.revision, changed.secrets))
            } else {
                restarted.append(user.name)
                plan.changes += [
                    .saveRevision(
                        user.name, revision: changed.revision, document: changed.document, spec: changed.spec,
                        secrets: changed.secrets, imageDigest: changed.imageReview?.digest, at: wall),
                    event(
                        .appUpdated, user.name,
                        "App \(user.name) gets secret \(name) version \(version) (revision \(changed.revision))",
                        request),
                ]
            }
        }
        plan.response.body = Presentation.secretSet(summary, changed: true, restarted: restarted)
        return plan
    }

    private func use(_ secret: SealedSecret, in user: Application, at wall: WallTime) -> Application {
        var application = user
        application.secrets = (user.secrets.filter { $0.name != secret.name } + [secret]).sorted { $0.name < $1.name }
        application.updatedAt = wall
        let runs = reconciler.instances(of: user.name).contains {
            $0.revision == user.revision && $0.state != .stopped && $0.state != .draining
        }
        // What pulls images is not in any container, and what does not run has nothing to replace.
        if runs, user.spec.environmentSecrets.contains(secret.name) {
            application.revision += 1
            application.equalRevisions = []
            // The same image, so what was found out about it holds.
            application.imageReview?.revision = application.revision
        }
        return application
    }

    func planRemoval(of name: SecretName, force: Bool, _ request: ControlRequest) throws -> Plan {
        guard secrets[name] != nil else { throw Problem.secretNotFound(name) }
        let users = users(of: name)
        guard force || users.isEmpty else {
            let apps = users.map(\.name.rawValue).joined(separator: ", ")
            throw Problem(
                status: 409, code: "secret-in-use", title: "The secret is in use",
                detail:
                    "Secret \(name) is named by \(apps). Without it they can't start instances; to remove it all the "
                    + "same: orchestry secret rm \(name) --force (force=true).")
        }
        var plan = Plan(
            response: ControlResponse(body: Presentation.secretRemoved(name, heldApps: users.map(\.name))),
            changes: [.removeSecret(name), event(.secretRemoved, nil, "Secret \(name) was removed", request)],
            secrets: [name: nil])
        for user in users {
            var application = user
            application.secrets.removeAll { $0.name == name }
            plan.others.append(application)
            plan.changes.append(.saveApplication(application))
        }
        return plan
    }

    // MARK: Reads

    func listSecrets() -> ControlResponse {
        ControlResponse(
            body: Presentation.secretList(
                secrets.values.sorted { $0.name < $1.name }.map { ($0, users(of: $0.name).map(\.name)) }))
    }

    func showSecret(_ name: SecretName) throws -> ControlResponse {
        guard let summary = secrets[name] else { throw Problem.secretNotFound(name) }
        return ControlResponse(body: Presentation.secret(summary, usedBy: users(of: name).map(\.name)))
    }
}
