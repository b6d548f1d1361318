import OrchestryModel

/// Release steps: a command that is run once, in a container of the new revision, before anything else of that revision
/// is made. The old revision serves meanwhile, and goes on serving when the command fails.
///
/// The exited container is the record of what became of it: it is kept until the rollout has ended, so that a new leader
/// does not run the command again. Only when its node is lost, or somebody removes the container, is it run again.
extension Reconciler {
    /// An app that is started with a revision that never came so far has its release step before it.
    mutating func startAnew(_ name: AppName) {
        guard let app = apps[name], let application = app.application, app.wanted > 0, app.rollout == nil,
            application.spec.rollout.release != nil, serving(app).isEmpty
        else { return }
        let last = app.lastRollout?.revision == application.revision ? app.lastRollout : nil
        guard last.map({ $0.phase == .release }) != false else { return }
        let record = RolloutRecord(
            app: name, revision: application.revision, from: nil, phase: .release, startedAt: wall)
        apps[name]?.rollout = RolloutProgress(record, at: now)
        save(record)
        self.record(
            .rolloutStarted, name, "Revision \(application.revision) begins with its release command",
            ["to": JSONValue(application.revision), "phase": .string(record.phase.rawValue)])
    }

    mutating func followRelease(of name: AppName) {
        guard let app = apps[name], app.isReleasing, let application = app.application, let rollout = app.rollout,
            rollout.record.state == .running
        else { return }
        // The spec names none by now.
        guard let step = application.spec.rollout.release else { return endRelease(of: name) }
        let id = app.instances.filter { isStep($0, of: rollout.record.revision) && instances[$0]?.drain == nil }.min()
        guard let id, let status = instances[id]?.status else { return startRelease(application, step) }
        if status.hasKeptContainer {
            return conclude(status, of: name)
        }
        guard let deadline = rollout.deadline(application.spec.rollout), now >= deadline else { return }
        fail(
            name, .rolloutFailed,
            "failed its release step: the command did not end within \(step.timeoutSeconds) s (\(status.state.label): "
                + "\(status.message))", .null, output: "")
    }

    private func isStep(_ id: InstanceID, of revision: Int) -> Bool {
        id.isReleaseStep && instances[id]?.status.revision == revision
    }

    private mutating func conclude(_ status: InstanceStatus, of name: AppName) {
        guard status.exitCode != 0 else {
            record(
                .releaseFinished, name, "The release command of revision \(status.revision) has ended well",
                [
                    "instance": .string(status.instance.rawValue), "node": .string(status.node.rawValue),
                    "revision": JSONValue(status.revision), "output": .string(status.message),
                ])
            return endRelease(of: name)
        }
        let code = status.exitCode.map { "exit code \($0)" } ?? "no exit code"
        let last = status.message.split(separator: "\n").last.map { ": \($0.prefix(300))" } ?? ""
        fail(
            name, .rolloutFailed,
            "failed its release step: \(code)\(status.outOfMemory ? ", out of memory" : "")\(last)",
            .null, output: status.message)
    }

    /// The rollout goes on.
    private mutating func endRelease(of name: AppName) {
        guard let app = apps[name], var rollout = app.rollout else { return }
        rollout.record.phase = phaseAfterRelease(of: app, rollout.record.origin)
        rollout.restartDeadline(at: now)
        apps[name]?.rollout = rollout
        if app.isReleaseShort { endShortage(of: name) }
        save(rollout.record)
    }

    private mutating func startRelease(_ application: Application, _ step: AppSpec.RolloutPolicy.Release) {
        let name = application.name
        guard !waitForNodes(name) else { return }
        let recipe = Recipe(of: application, as: application.revision).releasing(step)
        var placement = Placement(placementNodes(for: application, revision: application.revision))
        guard let node = placement.place(recipe.spec.resources) else {
            apps[name]?.isReleaseShort = true
            return reportShortage(of: name, missing: 1, recipe.spec.resources)
        }
        endShortage(of: name)
        create(newInstanceID(name, application.revision, isReleaseStep: true), by: recipe, on: node)
    }

    /// Removes the steps of rollouts that are over.
    mutating func endReleases(of name: AppName) {
        guard let app = apps[name] else { return }
        for id in app.instances.sorted() where id.isReleaseStep && instances[id]?.drain == nil {
            guard let status = instances[id]?.status else { continue }
            let isWanted =
                app.wanted > 0 && app.rollout?.record.revision == status.revision
                && app.rollout?.record.state == .running
            // It has done its work; a node that should be empty does not wait for the rollout.
            let isInTheWay = !app.isReleasing && nodes[status.node]?.isDraining == true
            if !isWanted || isInTheWay { startDrain(of: id, "the release step is over", since: wall, isNews: false) }
        }
    }

    /// Somebody has mended what its release command failed of.
    mutating func retryRelease(of name: AppName) {
        guard let app = apps[name], app.isReleasing, var rollout = app.rollout, rollout.hasFailed else { return }
        rollout.record.state = .running
        rollout.record.reason = ""
        rollout.restartDeadline(at: now)
        apps[name]?.rollout = rollout
        save(rollout.record)
        dirty.insert(name)
    }
}
