CREATE TABLE bad_event (
	id INTEGER NOT NULL,
	received_s REAL DEFAULT 0 NOT NULL,
	reason TEXT DEFAULT '' NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE finished (
	id INTEGER NOT NULL,
	identity TEXT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	version_id TEXT DEFAULT '' NOT NULL,
	etag TEXT DEFAULT '' NOT NULL,
	event_name TEXT DEFAULT '' NOT NULL,
	uploaded_s REAL DEFAULT 0 NOT NULL,
	origin TEXT DEFAULT '' NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	attempts BIGINT DEFAULT 0 NOT NULL,
	calls BIGINT DEFAULT 0 NOT NULL,
	received_s REAL DEFAULT 0 NOT NULL,
	changed_s REAL DEFAULT 0 NOT NULL,
	code TEXT DEFAULT '' NOT NULL,
	message TEXT DEFAULT '' NOT NULL,
	traceparent TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT finished_state CHECK (state IN ('done', 'dead'))
);

CREATE TABLE found_upload (
	id INTEGER NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	etag TEXT DEFAULT '' NOT NULL,
	uploaded_s REAL DEFAULT 0 NOT NULL,
	found_s REAL DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE listed_result (
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	etag TEXT DEFAULT '' NOT NULL,
	modified_s REAL DEFAULT 0 NOT NULL,
	source_etag TEXT,
	PRIMARY KEY (bucket, "key")
)
 WITHOUT ROWID;

CREATE TABLE listed_video (
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	result_key TEXT NOT NULL,
	version_id TEXT DEFAULT '' NOT NULL,
	etag TEXT DEFAULT '' NOT NULL,
	size_bytes BIGINT DEFAULT 0 NOT NULL,
	modified_s REAL DEFAULT 0 NOT NULL,
	PRIMARY KEY (bucket, "key")
)
 WITHOUT ROWID;

CREATE TABLE notice (
	id INTEGER NOT NULL,
	message_id TEXT NOT NULL,
	body TEXT NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	attempts BIGINT DEFAULT 0 NOT NULL,
	calls BIGINT DEFAULT 0 NOT NULL,
	due_s REAL DEFAULT 0 NOT NULL,
	lease_until_s REAL DEFAULT 0 NOT NULL,
	created_s REAL DEFAULT 0 NOT NULL,
	changed_s REAL DEFAULT 0 NOT NULL,
	code TEXT DEFAULT '' NOT NULL,
	message TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT notice_state CHECK (state IN ('queued', 'running', 'dead')),
	UNIQUE (message_id)
);

CREATE TABLE reconciled (
	bucket TEXT NOT NULL,
	finished_s REAL DEFAULT 0 NOT NULL,
	PRIMARY KEY (bucket)
);

CREATE TABLE seen_event (
	identity TEXT NOT NULL,
	PRIMARY KEY (identity)
);

CREATE TABLE tally (
	slot INTEGER NOT NULL,
	state TEXT NOT NULL,
	code TEXT NOT NULL,
	count BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (slot, state, code)
);

CREATE TABLE work (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	identity TEXT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	version_id TEXT DEFAULT '' NOT NULL,
	etag TEXT DEFAULT '' NOT NULL,
	event_name TEXT DEFAULT '' NOT NULL,
	uploaded_s REAL DEFAULT 0 NOT NULL,
	origin TEXT DEFAULT '' NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	attempts BIGINT DEFAULT 0 NOT NULL,
	calls BIGINT DEFAULT 0 NOT NULL,
	received_s REAL DEFAULT 0 NOT NULL,
	changed_s REAL DEFAULT 0 NOT NULL,
	code TEXT DEFAULT '' NOT NULL,
	message TEXT DEFAULT '' NOT NULL,
	traceparent TEXT DEFAULT '' NOT NULL,
	due_s REAL DEFAULT 0 NOT NULL,
	lease_until_s REAL DEFAULT 0 NOT NULL,
	stage BIGINT DEFAULT 0 NOT NULL,
	prefix TEXT NOT NULL,
	turn BIGINT DEFAULT 0 NOT NULL,
	CONSTRAINT work_state CHECK (state IN ('queued', 'running'))
);

CREATE INDEX finished_changed ON finished (changed_s, id);

CREATE INDEX finished_dead ON finished (bucket, "key", etag, received_s) WHERE state='dead';

CREATE INDEX finished_dead_changed ON finished (changed_s, id) WHERE state='dead';

CREATE INDEX finished_object ON finished (bucket, "key", changed_s);

CREATE INDEX found_upload_object ON found_upload (bucket, "key", etag, uploaded_s);

CREATE INDEX found_upload_time ON found_upload (found_s);

CREATE INDEX notice_dead ON notice (changed_s, id) WHERE state='dead';

CREATE INDEX notice_due ON notice (due_s, id) WHERE state='queued';

CREATE INDEX notice_running ON notice (lease_until_s) WHERE state='running';

CREATE INDEX notice_waiting ON notice (created_s) WHERE state<>'dead';

CREATE INDEX work_again ON work (turn, id) WHERE state='queued' AND stage=1 AND attempts>0;

CREATE INDEX work_again_prefix ON work (prefix, turn) WHERE state='queued' AND stage=1 AND attempts>0;

CREATE UNIQUE INDEX work_ahead ON work (bucket, "key") WHERE stage=1;

CREATE INDEX work_behind ON work (bucket, "key", id) WHERE state='queued' AND stage=2;

CREATE INDEX work_new ON work (turn, id) WHERE state='queued' AND stage=1 AND attempts=0;

CREATE INDEX work_new_prefix ON work (prefix, turn) WHERE state='queued' AND stage=1 AND attempts=0;

CREATE INDEX work_object ON work (bucket, "key");

CREATE INDEX work_resting ON work (due_s, id) WHERE state='queued' AND stage=0;

CREATE INDEX work_running ON work (lease_until_s) WHERE state='running';
