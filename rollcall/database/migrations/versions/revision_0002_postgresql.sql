CREATE TABLE appearance (
	id BIGSERIAL NOT NULL,
	video_id BIGINT NOT NULL,
	number BIGINT DEFAULT 0 NOT NULL,
	person_id BIGINT,
	group_id BIGINT,
	uploaded_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	first_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	last_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	seconds DOUBLE PRECISION DEFAULT 0 NOT NULL,
	frames BIGINT DEFAULT 0 NOT NULL,
	distance DOUBLE PRECISION,
	certainty TEXT DEFAULT '' NOT NULL,
	intervals TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE change (
	id BIGSERIAL NOT NULL,
	at_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	who TEXT DEFAULT '' NOT NULL,
	action TEXT DEFAULT '' NOT NULL,
	name TEXT DEFAULT '' NOT NULL,
	details TEXT DEFAULT '' NOT NULL,
	undo TEXT DEFAULT '' NOT NULL,
	undone_by BIGINT,
	undoes BIGINT,
	videos BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE dismissed (
	kind TEXT NOT NULL,
	number BIGINT NOT NULL,
	at_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	who TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (kind, number)
);

CREATE TABLE face_block (
	video_id BIGINT NOT NULL,
	space TEXT DEFAULT '' NOT NULL,
	numbers BYTEA NOT NULL,
	encodings BYTEA NOT NULL,
	rows BIGINT DEFAULT 0 NOT NULL,
	version BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (video_id)
);

CREATE TABLE gallery_version (
	id BIGSERIAL NOT NULL,
	version TEXT COLLATE "C" NOT NULL,
	change_id BIGINT,
	at_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	removal BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (version)
);

CREATE TABLE person (
	id BIGSERIAL NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	folded TEXT COLLATE "C" DEFAULT '' NOT NULL,
	videos BIGINT DEFAULT 0 NOT NULL,
	first_seen_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	last_seen_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (name)
);

CREATE TABLE rematch (
	id BIGSERIAL NOT NULL,
	bucket TEXT COLLATE "C" NOT NULL,
	key TEXT COLLATE "C" NOT NULL,
	change_id BIGINT,
	attempts BIGINT DEFAULT 0 NOT NULL,
	due_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	created_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	message TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE removed_example (
	change_id BIGINT NOT NULL,
	place BIGINT DEFAULT 0 NOT NULL,
	facts TEXT DEFAULT '' NOT NULL,
	encoding BYTEA NOT NULL,
	at_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	PRIMARY KEY (change_id)
);

CREATE TABLE skipped_upload (
	id BIGSERIAL NOT NULL,
	bucket TEXT COLLATE "C" NOT NULL,
	key TEXT COLLATE "C" NOT NULL,
	reason TEXT DEFAULT '' NOT NULL,
	uploaded_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	seen_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE unindexed (
	id BIGSERIAL NOT NULL,
	document TEXT NOT NULL,
	created_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE unknown_face (
	video_id BIGINT NOT NULL,
	number BIGINT NOT NULL,
	group_id BIGINT NOT NULL,
	uploaded_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	encoding BYTEA NOT NULL,
	PRIMARY KEY (video_id, number)
);

CREATE TABLE unknown_group (
	id BIGSERIAL NOT NULL,
	space TEXT DEFAULT '' NOT NULL,
	centre BYTEA NOT NULL,
	appearances BIGINT DEFAULT 0 NOT NULL,
	first_seen_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	last_seen_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	same TEXT DEFAULT '' NOT NULL,
	version BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE video (
	id BIGSERIAL NOT NULL,
	bucket TEXT COLLATE "C" NOT NULL,
	key TEXT COLLATE "C" NOT NULL,
	etag TEXT DEFAULT '' NOT NULL,
	work_id TEXT DEFAULT '' NOT NULL,
	status TEXT DEFAULT '' NOT NULL,
	error_code TEXT DEFAULT '' NOT NULL,
	error_message TEXT DEFAULT '' NOT NULL,
	uploaded_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	finished_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	duration_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
	looks BIGINT DEFAULT 0 NOT NULL,
	coverage TEXT DEFAULT '' NOT NULL,
	named BIGINT DEFAULT 0 NOT NULL,
	unknown BIGINT DEFAULT 0 NOT NULL,
	gallery TEXT DEFAULT '' NOT NULL,
	kept TEXT DEFAULT '' NOT NULL,
	corrected BIGINT DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX appearance_group ON appearance (group_id, uploaded_s, video_id) WHERE group_id IS NOT NULL;

CREATE INDEX appearance_person ON appearance (person_id, uploaded_s, video_id) WHERE person_id IS NOT NULL;

CREATE UNIQUE INDEX appearance_video ON appearance (video_id, number);

CREATE INDEX change_at ON change (at_s, id);

CREATE INDEX change_name ON change (name);

CREATE INDEX face_block_version ON face_block (version, video_id, space, rows);

CREATE INDEX person_folded ON person (folded);

CREATE INDEX person_last_seen ON person (last_seen_s, id);

CREATE INDEX rematch_due ON rematch (due_s, id);

CREATE UNIQUE INDEX rematch_object ON rematch (bucket, key);

CREATE INDEX removed_example_at ON removed_example (at_s);

CREATE UNIQUE INDEX skipped_upload_object ON skipped_upload (bucket, key);

CREATE INDEX unknown_face_group ON unknown_face (group_id, uploaded_s);

CREATE INDEX unknown_group_same ON unknown_group (id) WHERE same<>'';

CREATE INDEX unknown_group_size ON unknown_group (appearances, id);

CREATE INDEX unknown_group_version ON unknown_group (version);

CREATE INDEX video_finished ON video (finished_s, id);

CREATE UNIQUE INDEX video_object ON video (bucket, key);

CREATE INDEX video_status ON video (status, uploaded_s, id);

CREATE INDEX video_uploaded ON video (uploaded_s, id, key);

CREATE INDEX video_with_unknown ON video (uploaded_s, id) WHERE unknown>0;
