"""The ten reports on tasks: what failed, what took long, what it cost.

Ages are counted strictly, as the post-mortem queries did that these take over: what was created
exactly N days ago is no longer among the last N days. Averages are rounded to whole milliseconds,
half upwards. SQL and not Peewee, since the text is part of the interface: ``--sql`` prints it.
"""

from __future__ import annotations

from dynostore.reports.declaration import Column, Parameter, Report
from dynostore.reports.dialects import JsonWord

_TASK = Column("task_id", "uuid")
_REQUEST = Column("request_text")
_STATUS = Column("status")
_CREATED = Column("created_at", "time")
_WEEK, _MONTH = Parameter("days", 7), Parameter("days", 30)

_DURATION = JsonWord("duration_sec", "actual_resources", "duration_seconds")
_GPU = JsonWord("gpu_mb", "actual_resources", "gpu_vram_mb_used")
_CPU = JsonWord("cpu_ms", "actual_resources", "cpu_time_ms")
_MODEL = JsonWord("ai_model", "external_ai_used", "model", "text")
_TOKENS = JsonWord("tokens", "external_ai_used", "token_count")
_COST = JsonWord("cost_millionths", "external_ai_used", "cost_usd", "millionths")

_FAILED_TASKS = """
SELECT task_id, request_text, status, error_message, created_at, approved_at, completed_at
FROM tasks
WHERE status = 'failed' AND created_at > {since}
ORDER BY created_at DESC, task_id DESC
"""

_TIMELINE = """
SELECT task_id, step_number, agent_type, action, status, duration_ms, timestamp, output_summary
FROM execution_logs
WHERE task_id = {task_id}
ORDER BY step_number, timestamp, log_id
"""

_RESOURCES = """
SELECT task_id, request_text,
    {duration_sec} AS duration_sec,
    {gpu_mb} AS gpu_mb,
    {cpu_ms} AS cpu_ms,
    created_at
FROM tasks
WHERE status = 'completed' AND created_at > {since}
ORDER BY created_at DESC, task_id DESC
"""

_EXTERNAL_AI = """
SELECT task_id, request_text, status,
    {ai_model} AS ai_model,
    {tokens} AS tokens,
    CAST({cost_millionths} AS DOUBLE PRECISION) / 1000000 AS cost_usd,
    created_at
FROM tasks
WHERE external_ai_used IS NOT NULL
ORDER BY created_at DESC, task_id DESC
"""

# The 95th percentile lies between the values at both neighbours of place 0.95 * (n - 1), counted
# from 0, as PERCENTILE_CONT has it; in hundredths, which are exact. SQLite has no such function.
_AGENT_DURATIONS = """
WITH placed AS (
    SELECT agent_type, duration_ms,
        ROW_NUMBER() OVER (PARTITION BY agent_type ORDER BY duration_ms) - 1 AS place,
        95 * (COUNT(*) OVER (PARTITION BY agent_type) - 1) AS hundredths
    FROM execution_logs
    WHERE duration_ms IS NOT NULL
), neighbours AS (
    SELECT agent_type,
        MAX(CASE WHEN place = hundredths / 100 THEN duration_ms END) AS low,
        MAX(CASE WHEN place = (hundredths + 99) / 100 THEN duration_ms END) AS high,
        MAX(hundredths - hundredths / 100 * 100) AS beyond_low
    FROM placed
    GROUP BY agent_type
), counted AS (
    SELECT agent_type,
        COUNT(*) AS execution_count,
        (2 * CAST(SUM(duration_ms) AS BIGINT) + COUNT(duration_ms))
            / NULLIF(2 * COUNT(duration_ms), 0) AS avg_duration_ms,
        MIN(duration_ms) AS min_duration_ms,
        MAX(duration_ms) AS max_duration_ms
    FROM execution_logs
    GROUP BY agent_type
)
SELECT counted.agent_type, execution_count, avg_duration_ms, min_duration_ms, max_duration_ms,
    CAST(100 * low + beyond_low * (high - low) AS DOUBLE PRECISION) / 100 AS p95_duration_ms
FROM counted LEFT JOIN neighbours ON neighbours.agent_type = counted.agent_type
ORDER BY avg_duration_ms DESC NULLS LAST, counted.agent_type
"""

_FAILED_STEPS = """
SELECT task_id, step_number, agent_type, action, status, output_summary, timestamp
FROM execution_logs
WHERE status = 'failed'
ORDER BY timestamp DESC, log_id DESC
"""

_BY_STATUS = """
SELECT status,
    COUNT(*) AS count,
    COUNT(CASE WHEN created_at > {day_ago} THEN 1 END) AS last_24h,
    COUNT(CASE WHEN created_at > {week_ago} THEN 1 END) AS last_7d
FROM tasks
GROUP BY status
ORDER BY count DESC, status
"""

_AI_COST = """
WITH used AS (
    SELECT {ai_model} AS ai_model, {tokens} AS tokens, {cost_millionths} AS cost_millionths
    FROM tasks
    WHERE external_ai_used IS NOT NULL
)
SELECT ai_model AS model,
    COUNT(*) AS usage_count,
    CAST(SUM(tokens) AS BIGINT) AS total_tokens,
    CAST(SUM(cost_millionths) AS DOUBLE PRECISION) / 1000000 AS total_cost_usd
FROM used
GROUP BY ai_model
ORDER BY total_cost_usd DESC NULLS LAST, ai_model NULLS LAST
"""

_LONGEST = """
SELECT task_id, request_text, status, created_at,
    {duration_sec} AS duration_sec,
    {gpu_mb} AS gpu_mb
FROM tasks
WHERE created_at > {since}
ORDER BY duration_sec DESC NULLS LAST, task_id
LIMIT 10
"""

_SUCCESS_BY_DAY = """
WITH days AS (
    SELECT {created_on} AS day,
        COUNT(*) AS total,
        COUNT(CASE WHEN status = 'completed' THEN 1 END) AS completed,
        COUNT(CASE WHEN status = 'failed' THEN 1 END) AS failed
    FROM tasks
    WHERE created_at > {since}
    GROUP BY {created_on}
)
SELECT day, total, completed, failed,
    CAST((20000 * completed + total) / (2 * total) AS DOUBLE PRECISION) / 100 AS success_rate_pct
FROM days
ORDER BY day DESC
"""


def _integers(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "integer") for name in names)


REPORTS = (
    Report(
        "failed-tasks",
        "Failed tasks of the last days, newest first",
        _FAILED_TASKS,
        (
            _TASK,
            _REQUEST,
            _STATUS,
            Column("error_message"),
            _CREATED,
            Column("approved_at", "time"),
            Column("completed_at", "time"),
        ),
        (_WEEK,),
    ),
    Report(
        "timeline",
        "The steps of a task, in order",
        _TIMELINE,
        (
            _TASK,
            *_integers("step_number"),
            Column("agent_type"),
            Column("action"),
            _STATUS,
            *_integers("duration_ms"),
            Column("timestamp", "time"),
            Column("output_summary"),
        ),
        (Parameter("task_id"),),
    ),
    Report(
        "resources",
        "What the completed tasks of the last days used, newest first",
        _RESOURCES,
        (_TASK, _REQUEST, *_integers("duration_sec", "gpu_mb", "cpu_ms"), _CREATED),
        (_MONTH,),
        (_DURATION, _GPU, _CPU),
    ),
    Report(
        "external-ai",
        "Tasks that used an external AI, newest first",
        _EXTERNAL_AI,
        (
            _TASK,
            _REQUEST,
            _STATUS,
            Column("ai_model"),
            *_integers("tokens"),
            Column("cost_usd", "real"),
            _CREATED,
        ),
        words=(_MODEL, _TOKENS, _COST),
    ),
    Report(
        "agent-durations",
        "How long the steps of each type of agent took, slowest on average first",
        _AGENT_DURATIONS,
        (
            Column("agent_type"),
            *_integers("execution_count", "avg_duration_ms", "min_duration_ms", "max_duration_ms"),
            Column("p95_duration_ms", "real"),
        ),
    ),
    Report(
        "failed-steps",
        "Failed steps, latest first",
        _FAILED_STEPS,
        (
            _TASK,
            *_integers("step_number"),
            Column("agent_type"),
            Column("action"),
            _STATUS,
            Column("output_summary"),
            Column("timestamp", "time"),
        ),
    ),
    Report(
        "by-status",
        "How many tasks are in each state, and how many of them are new",
        _BY_STATUS,
        (_STATUS, *_integers("count", "last_24h", "last_7d")),
    ),
    Report(
        "ai-cost",
        "What each external AI model cost, dearest first",
        _AI_COST,
        (
            Column("model"),
            *_integers("usage_count", "total_tokens"),
            Column("total_cost_usd", "real"),
        ),
        words=(_MODEL, _TOKENS, _COST),
    ),
    Report(
        "longest",
        "The ten tasks of the last days that ran longest",
        _LONGEST,
        (_TASK, _REQUEST, _STATUS, _CREATED, *_integers("duration_sec", "gpu_mb")),
        (_MONTH,),
        (_DURATION, _GPU),
    ),
    Report(
        "success-by-day",
        "The share of all tasks created on a day (UTC) that were completed, latest day first",
        _SUCCESS_BY_DAY,
        (
            Column("day"),
            *_integers("total", "completed", "failed"),
            Column("success_rate_pct", "real"),
        ),
        (_MONTH,),
    ),
)
