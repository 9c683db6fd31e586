//! `AlertmanagerConfig`: routes, receivers, inhibitions, intervals.

use crate::schema::{
    COUNT, Field, INTEGER,
    Type::{
        Again, Bool, Duration, Integer, List, Map, NonEmpty, NonEmptyList, Object, OneOf, Text,
    },
    optional, required,
};

use super::parts::{AUTHORIZATION, BASIC_AUTH, KEY_REFERENCE, OAUTH2, SIGV4, TLS_CONFIG};

const SOURCE_MATCH: &[Field] = &[
    optional("matchType", OneOf(&["!=", "=", "=~", "!~"])),
    required("name", NonEmpty),
    optional("regex", Bool),
    optional("value", Text),
];

const INHIBIT_RULE: &[Field] = &[
    optional("equal", List(&Text)),
    optional("sourceMatch", List(&Object(SOURCE_MATCH))),
    optional("targetMatch", List(&Object(SOURCE_MATCH))),
];

const DAYS_OF_MONTH: &[Field] = &[
    optional("end", Integer { min: -31, max: 31 }),
    optional("start", Integer { min: -31, max: 31 }),
];

const TIMES: &[Field] = &[optional("endTime", Text), optional("startTime", Text)];

const TIME_INTERVALS: &[Field] = &[
    optional("daysOfMonth", List(&Object(DAYS_OF_MONTH))),
    optional("months", List(&Text)),
    optional("times", List(&Object(TIMES))),
    optional("weekdays", List(&Text)),
    optional("years", List(&Text)),
];

const MUTE_TIME_INTERVALS: &[Field] =
    &[required("name", Text), optional("timeIntervals", List(&Object(TIME_INTERVALS)))];

const HTTP_CONFIG: &[Field] = &[
    optional("authorization", Object(AUTHORIZATION)),
    optional("basicAuth", Object(BASIC_AUTH)),
    optional("bearerTokenSecret", Object(KEY_REFERENCE)),
    optional("enableHttp2", Bool),
    optional("followRedirects", Bool),
    optional("noProxy", Text),
    optional("oauth2", Object(OAUTH2)),
    optional("proxyConnectHeader", Map(&List(&Object(KEY_REFERENCE)))),
    optional("proxyFromEnvironment", Bool),
    optional("proxyURL", Text),
    optional("proxyUrl", Text),
    optional("tlsConfig", Object(TLS_CONFIG)),
];

const DISCORD_CONFIGS: &[Field] = &[
    required("apiURL", Object(KEY_REFERENCE)),
    optional("avatarURL", Text),
    optional("content", NonEmpty),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", Text),
    optional("sendResolved", Bool),
    optional("title", Text),
    optional("username", NonEmpty),
];

const HEADERS: &[Field] = &[required("key", NonEmpty), required("value", Text)];

const THREADING: &[Field] = &[required("threadByDate", OneOf(&["Daily", "None"]))];

const EMAIL_CONFIGS: &[Field] = &[
    optional("authIdentity", NonEmpty),
    optional("authPassword", Object(KEY_REFERENCE)),
    optional("authSecret", Object(KEY_REFERENCE)),
    optional("authUsername", NonEmpty),
    optional("forceImplicitTLS", Bool),
    optional("from", NonEmpty),
    optional("headers", List(&Object(HEADERS))),
    optional("hello", NonEmpty),
    optional("html", Text),
    optional("requireTLS", Bool),
    optional("sendResolved", Bool),
    optional("smarthost", NonEmpty),
    optional("text", NonEmpty),
    optional("threading", Object(THREADING)),
    optional("tlsConfig", Object(TLS_CONFIG)),
    optional("to", NonEmpty),
];

const MSTEAMS_CONFIGS: &[Field] = &[
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("sendResolved", Bool),
    optional("summary", Text),
    optional("text", Text),
    optional("title", Text),
    required("webhookUrl", Object(KEY_REFERENCE)),
];

const MSTEAMSV2_CONFIGS: &[Field] = &[
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("sendResolved", Bool),
    optional("text", NonEmpty),
    optional("title", NonEmpty),
    optional("webhookURL", Object(KEY_REFERENCE)),
];

const RESPONDERS: &[Field] = &[
    optional("id", NonEmpty),
    optional("name", NonEmpty),
    required("type", OneOf(&["team", "teams", "user", "escalation", "schedule"])),
    optional("username", NonEmpty),
];

const OPSGENIE_CONFIGS: &[Field] = &[
    optional("actions", NonEmpty),
    optional("apiKey", Object(KEY_REFERENCE)),
    optional("apiURL", Text),
    optional("description", NonEmpty),
    optional("details", List(&Object(HEADERS))),
    optional("entity", NonEmpty),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", NonEmpty),
    optional("note", NonEmpty),
    optional("priority", NonEmpty),
    optional("responders", List(&Object(RESPONDERS))),
    optional("sendResolved", Bool),
    optional("source", NonEmpty),
    optional("tags", NonEmpty),
    optional("updateAlerts", Bool),
];

const PAGER_DUTY_IMAGE_CONFIGS: &[Field] =
    &[optional("alt", NonEmpty), optional("href", Text), optional("src", NonEmpty)];

const PAGER_DUTY_LINK_CONFIGS: &[Field] = &[optional("alt", NonEmpty), optional("href", Text)];

const PAGERDUTY_CONFIGS: &[Field] = &[
    optional("class", NonEmpty),
    optional("client", NonEmpty),
    optional("clientURL", Text),
    optional("component", NonEmpty),
    optional("description", NonEmpty),
    optional("details", List(&Object(HEADERS))),
    optional("group", NonEmpty),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("pagerDutyImageConfigs", List(&Object(PAGER_DUTY_IMAGE_CONFIGS))),
    optional("pagerDutyLinkConfigs", List(&Object(PAGER_DUTY_LINK_CONFIGS))),
    optional("routingKey", Object(KEY_REFERENCE)),
    optional("sendResolved", Bool),
    optional("serviceKey", Object(KEY_REFERENCE)),
    optional("severity", NonEmpty),
    optional("source", NonEmpty),
    optional("timeout", Duration),
    optional("url", Text),
];

const PUSHOVER_CONFIGS: &[Field] = &[
    optional("device", NonEmpty),
    optional("expire", Text),
    optional("html", Bool),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", NonEmpty),
    optional("monospace", Bool),
    optional("priority", NonEmpty),
    optional("retry", Text),
    optional("sendResolved", Bool),
    optional("sound", NonEmpty),
    optional("title", NonEmpty),
    optional("token", Object(KEY_REFERENCE)),
    optional("tokenFile", NonEmpty),
    optional("ttl", Duration),
    optional("url", Text),
    optional("urlTitle", NonEmpty),
    optional("userKey", Object(KEY_REFERENCE)),
    optional("userKeyFile", NonEmpty),
];

const MESSAGE_ACTION: &[Field] =
    &[optional("msg", NonEmpty), optional("text", NonEmpty), optional("url", Text)];

const FIELDS: &[Field] =
    &[optional("short", Bool), optional("title", NonEmpty), optional("value", NonEmpty)];

const ROCKETCHAT_CONFIGS: &[Field] = &[
    optional("actions", NonEmptyList(&Object(MESSAGE_ACTION))),
    optional("apiURL", Text),
    optional("channel", NonEmpty),
    optional("color", NonEmpty),
    optional("emoji", NonEmpty),
    optional("fields", NonEmptyList(&Object(FIELDS))),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("iconURL", Text),
    optional("imageURL", Text),
    optional("linkNames", Bool),
    optional("sendResolved", Bool),
    optional("shortFields", Bool),
    optional("text", NonEmpty),
    optional("thumbURL", Text),
    optional("title", NonEmpty),
    optional("titleLink", NonEmpty),
    required("token", Object(KEY_REFERENCE)),
    required("tokenID", Object(KEY_REFERENCE)),
];

const CONFIRM: &[Field] = &[
    optional("dismissText", NonEmpty),
    optional("okText", NonEmpty),
    required("text", NonEmpty),
    optional("title", NonEmpty),
];

const SLACK_CONFIGS_ACTIONS: &[Field] = &[
    optional("confirm", Object(CONFIRM)),
    optional("name", NonEmpty),
    optional("style", NonEmpty),
    required("text", NonEmpty),
    required("type", NonEmpty),
    optional("url", Text),
    optional("value", NonEmpty),
];

const SLACK_CONFIGS_FIELDS: &[Field] =
    &[optional("short", Bool), required("title", NonEmpty), required("value", NonEmpty)];

const SLACK_CONFIGS: &[Field] = &[
    optional("actions", NonEmptyList(&Object(SLACK_CONFIGS_ACTIONS))),
    optional("apiURL", Object(KEY_REFERENCE)),
    optional("callbackId", NonEmpty),
    optional("channel", NonEmpty),
    optional("color", NonEmpty),
    optional("fallback", NonEmpty),
    optional("fields", NonEmptyList(&Object(SLACK_CONFIGS_FIELDS))),
    optional("footer", NonEmpty),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("iconEmoji", NonEmpty),
    optional("iconURL", Text),
    optional("imageURL", Text),
    optional("linkNames", Bool),
    optional("messageText", NonEmpty),
    optional("mrkdwnIn", NonEmptyList(&NonEmpty)),
    optional("pretext", NonEmpty),
    optional("sendResolved", Bool),
    optional("shortFields", Bool),
    optional("text", NonEmpty),
    optional("thumbURL", Text),
    optional("timeout", Duration),
    optional("title", NonEmpty),
    optional("titleLink", Text),
    optional("updateMessage", Bool),
    optional("username", NonEmpty),
];

const SNS_CONFIGS: &[Field] = &[
    optional("apiURL", Text),
    optional("attributes", Map(&Text)),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", NonEmpty),
    optional("phoneNumber", NonEmpty),
    optional("sendResolved", Bool),
    optional("sigv4", Object(SIGV4)),
    optional("subject", NonEmpty),
    optional("targetARN", NonEmpty),
    optional("topicARN", NonEmpty),
    optional("useAWSHTTPClient", Bool),
];

const TELEGRAM_CONFIGS: &[Field] = &[
    optional("apiURL", Text),
    optional("botToken", Object(KEY_REFERENCE)),
    optional("botTokenFile", Text),
    required("chatID", INTEGER),
    optional("disableNotifications", Bool),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", Text),
    optional("messageThreadID", INTEGER),
    optional("parseMode", OneOf(&["MarkdownV2", "Markdown", "HTML"])),
    optional("sendResolved", Bool),
];

const VICTOROPS_CONFIGS: &[Field] = &[
    optional("apiKey", Object(KEY_REFERENCE)),
    optional("apiUrl", Text),
    optional("customFields", List(&Object(HEADERS))),
    optional("entityDisplayName", NonEmpty),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("messageType", NonEmpty),
    optional("monitoringTool", NonEmpty),
    required("routingKey", NonEmpty),
    optional("sendResolved", Bool),
    optional("stateMessage", NonEmpty),
];

const WEBEX_CONFIGS: &[Field] = &[
    optional("apiURL", Text),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", Text),
    required("roomID", NonEmpty),
    optional("sendResolved", Bool),
];

const WEBHOOK_CONFIGS: &[Field] = &[
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("maxAlerts", COUNT),
    optional("payload", NonEmpty),
    optional("sendResolved", Bool),
    optional("timeout", Duration),
    optional("url", Text),
    optional("urlSecret", Object(KEY_REFERENCE)),
];

const WECHAT_CONFIGS: &[Field] = &[
    optional("agentID", NonEmpty),
    optional("apiSecret", Object(KEY_REFERENCE)),
    optional("apiURL", Text),
    optional("corpID", NonEmpty),
    optional("httpConfig", Object(HTTP_CONFIG)),
    optional("message", NonEmpty),
    optional("messageType", NonEmpty),
    optional("sendResolved", Bool),
    optional("toParty", NonEmpty),
    optional("toTag", NonEmpty),
    optional("toUser", NonEmpty),
];

const RECEIVER: &[Field] = &[
    optional("discordConfigs", List(&Object(DISCORD_CONFIGS))),
    optional("emailConfigs", List(&Object(EMAIL_CONFIGS))),
    optional("msteamsConfigs", List(&Object(MSTEAMS_CONFIGS))),
    optional("msteamsv2Configs", List(&Object(MSTEAMSV2_CONFIGS))),
    required("name", NonEmpty),
    optional("opsgenieConfigs", List(&Object(OPSGENIE_CONFIGS))),
    optional("pagerdutyConfigs", List(&Object(PAGERDUTY_CONFIGS))),
    optional("pushoverConfigs", List(&Object(PUSHOVER_CONFIGS))),
    optional("rocketchatConfigs", List(&Object(ROCKETCHAT_CONFIGS))),
    optional("slackConfigs", List(&Object(SLACK_CONFIGS))),
    optional("snsConfigs", List(&Object(SNS_CONFIGS))),
    optional("telegramConfigs", List(&Object(TELEGRAM_CONFIGS))),
    optional("victoropsConfigs", List(&Object(VICTOROPS_CONFIGS))),
    optional("webexConfigs", List(&Object(WEBEX_CONFIGS))),
    optional("webhookConfigs", List(&Object(WEBHOOK_CONFIGS))),
    optional("wechatConfigs", List(&Object(WECHAT_CONFIGS))),
];

static ROUTE: &[Field] = &[
    optional("activeTimeIntervals", List(&Text)),
    optional("continue", Bool),
    optional("groupBy", List(&Text)),
    optional("groupInterval", Duration),
    optional("groupWait", Duration),
    optional("matchers", List(&Object(SOURCE_MATCH))),
    optional("muteTimeIntervals", List(&Text)),
    optional("receiver", Text),
    optional("repeatInterval", Duration),
    optional("routes", List(&Again(&ROUTE))),
];

pub(crate) const ALERTMANAGER_CONFIG_SPEC: &[Field] = &[
    optional("inhibitRules", List(&Object(INHIBIT_RULE))),
    optional("muteTimeIntervals", List(&Object(MUTE_TIME_INTERVALS))),
    optional("receivers", List(&Object(RECEIVER))),
    optional("route", Again(&ROUTE)),
];

/// What differs in v1beta1: time intervals are called so. A matcher's old `regex` is taken, too.
pub(crate) const V1BETA1_SPEC: &[Field] = &[
    optional("inhibitRules", List(&Object(INHIBIT_RULE))),
    optional("receivers", List(&Object(RECEIVER))),
    optional("route", Again(&ROUTE)),
    optional("timeIntervals", List(&Object(MUTE_TIME_INTERVALS))),
];
