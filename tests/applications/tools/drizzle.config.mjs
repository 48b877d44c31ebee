export default {
  dialect: "turso",
  out: "./drizzle",
  dbCredentials: { url: process.env.DATABASE_URL, authToken: process.env.DATABASE_AUTH_TOKEN },
};
