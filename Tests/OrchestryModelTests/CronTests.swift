import Foundation
import OrchestryModel
import Testing

/// Moments of local calendars, the two odd days of the year included.
struct CronTests {
    private static func second(_ text: String) throws -> Int64 {
        let formatter = ISO8601DateFormatter()
        return Int64(try #require(formatter.date(from: text), "\(text)").timeIntervalSince1970)
    }

    private static func offset(_ zone: String) throws -> (Int64) -> Int64 {
        let zone = try #require(TimeZone(identifier: zone))
        return { Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double($0)))) }
    }

    struct Row: CustomTestStringConvertible {
        var cron: String
        var zone = "UTC"
        var after: String
        /// One after the other.
        var next: [String]
        var testDescription: String { "\(cron) \(zone) after \(after)" }
    }

    static let rows = [
        Row(cron: "0 8 * * *", after: "2026-05-04T07:59:59Z", next: ["2026-05-04T08:00:00Z", "2026-05-05T08:00:00Z"]),
        Row(cron: "0 8 * * *", after: "2026-05-04T08:00:00Z", next: ["2026-05-05T08:00:00Z"]),
        // 2026-05-08 is a Friday.
        Row(cron: "30 9 * * mon-fri", after: "2026-05-08T09:30:00Z", next: ["2026-05-11T09:30:00Z"]),
        Row(cron: "0 0 * * 7", after: "2026-05-08T00:00:00Z", next: ["2026-05-10T00:00:00Z"]),
        Row(
            cron: "*/20 1,3 * * *", after: "2026-05-04T01:30:00Z",
            next: ["2026-05-04T01:40:00Z", "2026-05-04T03:00:00Z"]),
        Row(
            cron: "0 12 29 2 *", after: "2026-03-01T00:00:00Z", next: ["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"]),
        Row(cron: "0 0 31 * *", after: "2026-01-31T00:00:00Z", next: ["2026-03-31T00:00:00Z"]),
        // Both days restricted: either suffices. The 13th is a Wednesday.
        Row(
            cron: "0 0 13 * fri", after: "2026-05-09T00:00:00Z", next: ["2026-05-13T00:00:00Z", "2026-05-15T00:00:00Z"]),
        Row(cron: "15 6 1 jan *", after: "2026-05-09T00:00:00Z", next: ["2027-01-01T06:15:00Z"]),
        // Winter and summer time: the same hour by the clock on the wall.
        Row(
            cron: "0 8 * * *", zone: "Europe/Berlin", after: "2026-03-28T12:00:00Z",
            next: ["2026-03-29T06:00:00Z", "2026-03-30T06:00:00Z"]),
        Row(cron: "0 8 * * *", zone: "Europe/Berlin", after: "2026-03-27T12:00:00Z", next: ["2026-03-28T07:00:00Z"]),
        // 02:30 is left out on 29 March: the moment of the change, 03:00 by the new time.
        Row(
            cron: "30 2 * * *", zone: "Europe/Berlin", after: "2026-03-28T12:00:00Z",
            next: ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        // 02:30 comes twice on 25 October: the first time only.
        Row(
            cron: "30 2 * * *", zone: "Europe/Berlin", after: "2026-10-24T12:00:00Z",
            next: ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        Row(
            cron: "30 2 * * *", zone: "America/New_York", after: "2026-11-01T00:00:00Z",
            next: ["2026-11-01T07:30:00Z"]),
        Row(cron: "30 0 * * *", zone: "Asia/Kolkata", after: "2026-05-04T00:00:00Z", next: ["2026-05-04T19:00:00Z"]),
    ]

    @Test(arguments: rows)
    func `the next moments are those of the local calendar`(_ row: Row) throws {
        let cron = try CronExpression(row.cron)
        let offset = try Self.offset(row.zone)
        var moment = try Self.second(row.after)
        for expected in row.next {
            moment = try #require(cron.next(after: moment, offset: offset))
            let wanted = try Self.second(expected)
            #expect(moment == wanted, "got \(Date(timeIntervalSince1970: Double(moment))), expected \(expected)")
        }
    }

    @Test(arguments: [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
        "*/0 * * * *", "a * * * *", "1,,2 * * * *", "-1 * * * *", "0 0 30 2 *", "0 0 31 4,6 *",
    ])
    func `what names no moment is refused`(_ text: String) {
        #expect(throws: CronError.self) { try CronExpression(text) }
    }

    @Test func `a schedule holds from its start to its end, and knows when that changes`() throws {
        let offset = try Self.offset("Europe/Berlin")
        let schedule = ScalingSchedule(
            name: "office", start: try CronExpression("0 8 * * mon-fri"), end: try CronExpression("0 18 * * mon-fri"),
            timeZone: "Europe/Berlin", minReplicas: 5)
        // Friday noon, Friday evening, Saturday, Monday.
        for (time, isActive, until) in [
            ("2026-05-08T10:00:00Z", true, "2026-05-08T16:00:00Z"),
            ("2026-05-08T16:00:00Z", false, "2026-05-11T06:00:00Z"),
            ("2026-05-09T10:00:00Z", false, "2026-05-11T06:00:00Z"),
            ("2026-05-11T06:00:00Z", true, "2026-05-11T16:00:00Z"),
        ] {
            let state = schedule.state(at: try Self.second(time), offset: offset)
            #expect(state.isActive == isActive, "\(time)")
            let expected = try Self.second(until)
            #expect(state.until == expected, "\(time)")
        }
    }

    @Test func `the clock of schedules agrees with asking anew each minute over a change of the clocks`() throws {
        let schedules = [
            ScalingSchedule(
                name: "night", start: try CronExpression("30 1 * * *"), end: try CronExpression("30 2 * * *"),
                timeZone: "Europe/Berlin", maxReplicas: 2),
            ScalingSchedule(
                name: "day", start: try CronExpression("0 2 * * *"), end: try CronExpression("0 20 * * *"),
                timeZone: "Europe/London", minReplicas: 3),
        ]
        let offsets = try [
            "Europe/Berlin": Self.offset("Europe/Berlin"), "Europe/London": Self.offset("Europe/London"),
        ]
        for start in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
            var clock = ScheduleClock()
            let first = try Self.second(start)
            for second in stride(from: first, to: first + 36 * 3_600, by: 60) {
                let bounds = clock.bounds(schedules, at: second) { offsets[$0]?($1) }
                let active = schedules.filter { schedule in
                    schedule.state(at: second) { offsets[schedule.timeZone]?($0) ?? 0 }.isActive
                }
                #expect(bounds == ScheduledBounds(of: active), "at \(second)")
            }
        }
    }

    @Test func `a spec's schedules and metrics of its own are read, and their faults named`() throws {
        let policy = try ScalingPolicy.parse(
            [
                "customMetrics": [["name": "jobs", "target": 30, "type": "counter", "labels": ["queue": "mail"]]],
                "schedules": [
                    [
                        "name": "office", "start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "minReplicas": 4,
                        "timeZone": "Europe/Berlin",
                    ]
                ],
            ], merging: [:]
        ).policy
        #expect(policy.maxCPUPercent == nil, "a metric of its own is a target")
        #expect(
            policy.customMetrics == [
                .init(name: "jobs", metric: "jobs", labels: ["queue": "mail"], kind: .counter, target: 30)
            ])
        #expect(policy.schedules?.first?.minReplicas == 4)
        let error = #expect(throws: ValidationError.self) {
            try ScalingPolicy.parse(
                [
                    "customMetrics": [["name": "rps", "target": 1], ["name": "a b", "target": 0], ["target": 1]],
                    "schedules": [
                        ["name": "x", "start": "0 8 * *", "end": "0 9 * * *", "minReplicas": 1],
                        ["name": "y", "start": "0 9 * * *", "end": "0 9 * * *", "minReplicas": 3, "maxReplicas": 2],
                        ["name": "z", "start": "0 8 * * *", "end": "0 9 * * *"],
                    ],
                ], merging: [:])
        }
        let fields = Set(error?.violations.map(\.field) ?? [])
        #expect(
            fields == [
                "policy.customMetrics[0].name", "policy.customMetrics[1].name", "policy.customMetrics[1].target",
                "policy.customMetrics[2].name", "policy.schedules[0].start", "policy.schedules[1].end",
                "policy.schedules[1].maxReplicas", "policy.schedules[2]",
            ], "\(String(describing: error))")
    }
}
